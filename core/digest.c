#include "core/digest.h"

#include <openssl/sha.h>

_Static_assert((int)DYN_SHA256_BYTES == (int)SHA256_DIGEST_LENGTH, "a digest");

void
dyn_sha256(struct dyn_slice text, uint8_t digest[DYN_SHA256_BYTES])
{
    (void)SHA256((const unsigned char *)text.data, text.len, digest);
}
