/* What encoder and decoder share: the table of members, and the words for outcomes. */
#include "proto/env_fields.h"

#define FIXSTR 0xa0

/* What came with a version that nobody says would never leave a process. */
#define FIELD(key, member, type, max, since)                                                                 \
    _Static_assert((since) <= ENV_VERSION_MINOR, "'" key "' is of a later version than ours");
#include "proto/env_fields.def"
#undef FIELD

const struct env_field env_fields[ENV_N_FIELDS] = {
#define FIELD(key, member, type, max, since)                                                                 \
    {DYN_SLICE_INIT(key),                                                                                    \
     ENV_FIELD_##type,                                                                                       \
     offsetof(struct env, member),                                                                           \
     max,                                                                                                    \
     since,                                                                                                  \
     {FIXSTR | (sizeof(key) - 1), key}},
#include "proto/env_fields.def"
#undef FIELD
};

const struct env_usage_field env_usage_fields[ENV_N_USAGE_FIELDS] = {
    {DYN_SLICE_INIT("in"), offsetof(struct env_usage, prompt_tokens), 0},
    {DYN_SLICE_INIT("out"), offsetof(struct env_usage, completion_tokens), 0},
    {DYN_SLICE_INIT("total"), offsetof(struct env_usage, total_tokens), 0},
    {DYN_SLICE_INIT("cached"), offsetof(struct env_usage, cached_tokens), 0},
    {DYN_SLICE_INIT("reasoned"), offsetof(struct env_usage, reasoning_tokens), 0},
    {DYN_SLICE_INIT("written"), offsetof(struct env_usage, cache_write_tokens), 2},
    {DYN_SLICE_INIT("audio_in"), offsetof(struct env_usage, audio_in_tokens), 2},
    {DYN_SLICE_INIT("audio_out"), offsetof(struct env_usage, audio_out_tokens), 2},
    {DYN_SLICE_INIT("written_1h"), offsetof(struct env_usage, cache_write_1h_tokens), 3},
    {DYN_SLICE_INIT("image_in"), offsetof(struct env_usage, image_in_tokens), 3},
    {DYN_SLICE_INIT("image_out"), offsetof(struct env_usage, image_out_tokens), 3},
    {DYN_SLICE_INIT("searches"), offsetof(struct env_usage, searches), 3},
    {DYN_SLICE_INIT("service"), offsetof(struct env_usage, service), 3},
};

static const char *const outcome_names[] = {
    [ENV_OUTCOME_OK] = "ok",
    [ENV_OUTCOME_ERROR] = "error",
    [ENV_OUTCOME_CANCELLED] = "cancelled",
};

const char *
env_outcome_name(enum env_outcome outcome)
{
    bool is_known = (unsigned)outcome < DYN_ARRAY_LEN(outcome_names) && outcome_names[outcome] != NULL;
    return is_known ? outcome_names[outcome] : "unknown";
}
