/* Envelope headers from anyone: decoded or refused. What was decoded is encoded, and that decodes to an
 * envelope which encodes to the same bytes. */
#include "proto/env_codec.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct env *env = NULL;
    struct env *again = NULL;
    struct dyn_err err;
    unsigned major;
    unsigned minor;
    struct dyn_slice header = dyn_slice((const char *)data, size);
    int versioned = env_header_version(header, &major, &minor);
    if (env_decode(header, &env, &err) != 0) {
        DYN_ASSERT(env == NULL);
        return 0;
    }
    DYN_ASSERT(versioned == 0 && major == ENV_VERSION_MAJOR);
    struct dyn_buf first = DYN_BUF_INIT;
    struct dyn_buf second = DYN_BUF_INIT;
    DYN_ASSERT(env_encode(env, &first, &err) == 0);
    DYN_ASSERT(env_decode(dyn_buf_slice(&first), &again, &err) == 0);
    DYN_ASSERT(env_encode(again, &second, &err) == 0);
    DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&first), dyn_buf_slice(&second)));
    env_free(&env);
    env_free(&again);
    dyn_buf_fini(&first);
    dyn_buf_fini(&second);
    return 0;
}
