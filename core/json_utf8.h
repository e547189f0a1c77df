/* Text beyond ASCII at the speed of ASCII, where the processor has SSSE3 (every x86-64 since 2011; it is
 * asked at run time). Private to the JSON scanner. */
#pragma once

#include "core/base.h"

/* From the beginning of a character: skips well-formed text without quotes, backslashes and control
 * characters, 16 bytes at a time, and stops at the beginning of a character. It stops early, and says
 * not why, before anything else and near the end; elsewhere it does nothing. */
const char *json_skip_utf8_blocks(const char *at, const char *end);
