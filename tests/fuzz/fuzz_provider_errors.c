/* What is read of error bodies, Retry-After values and base URLs: never out of bounds, never a secret. */
#include "actors/providers/provider_errors.h"
#include "actors/providers/provider_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_text(struct dyn_slice text, struct arena *arena)
{
    static const struct dyn_slice secret = DYN_SLICE_INIT("sk-secret");
    struct provider_error error;
    if (provider_error_read(text, arena, &error)) {
        DYN_ASSERT(error.message.len > 0);
        (void)provider_error_of_body(&error);
    } else {
        error.message = text;
    }
    struct dyn_slice clean = provider_text_clean(error.message, &secret, 1, NULL, arena);
    DYN_ASSERT(clean.data == NULL || memmem(clean.data, clean.len, secret.data, secret.len) == NULL);
    for (size_t i = 0; i < clean.len; i++) {
        DYN_ASSERT((unsigned char)clean.data[i] >= ' ' && clean.data[i] != 0x7f);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice text = dyn_slice((const char *)data, size);
    struct dyn_slice root;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    read_text(text, &arena);
    if (provider_url_root(text, "https://api.test/v1", &arena, &root, NULL) == 0) {
        DYN_ASSERT(root.len > 0 && root.data[root.len - 1] != '/' && provider_url_host(root).len > 0);
        DYN_ASSERT(memchr(root.data, '?', root.len) == NULL && memchr(root.data, '\n', root.len) == NULL);
        (void)provider_url_is_loopback(root);
        (void)provider_url_authority(root);
    }
    arena_fini(&arena);
    return 0;
}
