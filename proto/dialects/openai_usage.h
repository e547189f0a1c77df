/* Token counts in the spellings of the OpenAI family, folded into one record. Shared by the dialects
 * of that family. */
#pragma once

#include "core/json_scan.h"
#include "proto/env.h"

/* `object` was validated by a scan. false, and *usage unchanged, when it counts nothing: an upstream
 * that sends zeros does not know, since no prompt is empty. */
bool openai_usage_read(struct json_value object, struct env_usage *usage);
/* How it was sold: the word `service_tier` of an answer, which stands beside its usage. No text: unsaid. */
void openai_service_take(struct json_value word, struct env_usage *usage);
