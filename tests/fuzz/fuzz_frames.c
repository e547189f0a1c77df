/* Whatever a peer sends as a message of several frames: a port makes an envelope of it or says why not,
 * and an envelope that it made can be sent on. Input: for each frame two bytes of length and so many
 * bytes. */
#include "bus/frames.h"

#include <stdlib.h>

enum { FRAMES_MAX = 4, BODY_MAX = 4096 };

struct input {
    const char *data;
    size_t size;
};

static bool
next_frame(struct input *input, struct dyn_slice *frame)
{
    if (input->size < 2) {
        return false;
    }
    size_t len = (size_t)(uint8_t)input->data[0] << 8 | (uint8_t)input->data[1];
    len = len < input->size - 2 ? len : input->size - 2;
    *frame = dyn_slice(input->data + 2, len);
    input->data += 2 + len;
    input->size -= 2 + len;
    return true;
}

static void
check_envelope(const struct env *env, struct dyn_slice body)
{
    struct dyn_buf out = DYN_BUF_INIT;
    struct env *again = NULL;
    DYN_ASSERT(dyn_slice_eq(dyn_block_slice(env->body), body) || body.len == 0);
    DYN_ASSERT(env->body == NULL || dyn_block_headroom(env->body) == ENV_BODY_HEADROOM);
    DYN_ASSERT(env->kind != ENV_REQUEST || env_body_len(env) <= BODY_MAX);
    for (unsigned minor = 0; minor <= ENV_VERSION_MINOR; minor++) {
        dyn_buf_clear(&out);
        if (env_encode_for(env, minor, &out, NULL) == 0) {
            DYN_ASSERT(env_decode(dyn_buf_slice(&out), &again, NULL) == 0);
            DYN_ASSERT(again->kind == env->kind && env_id_eq(&again->id, &env->id));
            env_free(&again);
        } else {
            DYN_ASSERT(minor < ENV_VERSION_MINOR || dyn_buf_slice(&out).len <= ENV_HEADER_MAX);
        }
    }
    dyn_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {(const char *)data, size};
    struct dyn_slice frames[FRAMES_MAX] = {{NULL, 0}};
    struct env *env = NULL;
    struct dyn_err err = {.code = DYN_OK};
    unsigned n = 0;
    while (n < FRAMES_MAX && next_frame(&input, &frames[n])) {
        n++;
    }
    switch (frames_read(frames[0], frames[1], n, BODY_MAX, &env, &err)) {
    case FRAMES_ENVELOPE:
        DYN_ASSERT(env != NULL && n > 0 && n <= 2);
        check_envelope(env, frames[1]);
        break;
    case FRAMES_BROKEN:
        DYN_ASSERT(env == NULL && err.code != DYN_OK && err.text[0] != '\0');
        break;
    case FRAMES_LATER_KIND:
    case FRAMES_OTHER_VERSION:
        DYN_ASSERT(env == NULL);
        break;
    }
    env_free(&env);
    return 0;
}
