/* SHA-256 (FIPS 180-4) of a text, by the library that is here anyway. */
#pragma once

#include "core/base.h"

enum { DYN_SHA256_BYTES = 32 };
void dyn_sha256(struct dyn_slice text, uint8_t digest[DYN_SHA256_BYTES]);
