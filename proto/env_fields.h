/* The table of env_fields.def as data. Private to the codec. */
#pragma once

#include "proto/env_codec.h"

enum env_field_type {
    ENV_FIELD_ID,
    ENV_FIELD_U16,
    ENV_FIELD_U32,
    ENV_FIELD_U64,
    ENV_FIELD_BOOL,
    ENV_FIELD_TEXT,  /* str */
    ENV_FIELD_BYTES, /* bin; a str is taken for its bytes */
    ENV_FIELD_SURFACE,
    ENV_FIELD_OUTCOME,
    ENV_FIELD_ERROR,
    ENV_FIELD_HEADERS,
    ENV_FIELD_USAGE,
    ENV_FIELD_STAGE,   /* enum vote_stage as its word */
    ENV_FIELD_VERDICT, /* enum vote_verdict as its word */
    ENV_FIELD_FACTS,   /* a map: vote_facts.def */
};

enum { ENV_KEY_MAX = 16 };

struct env_field {
    struct dyn_slice    key;
    enum env_field_type type;
    size_t              offset; /* in struct env */
    uint64_t            max;
    unsigned            since; /* minor version */
    struct env_packed_key {
        uint8_t head; /* of a fixstr */
        char    text[ENV_KEY_MAX];
    } packed_key; /* the key as it is written */
};

enum {
#define FIELD(key, member, type, max, since) ENV_FIELD_AT_##member,
#include "proto/env_fields.def"
#undef FIELD
    ENV_N_FIELDS
};
extern const struct env_field env_fields[ENV_N_FIELDS];

/* One count of `usage`. */
struct env_usage_field {
    struct dyn_slice key;
    size_t           offset; /* in struct env_usage */
    unsigned         since;  /* minor version */
};
enum { ENV_N_USAGE_FIELDS = 13 };
extern const struct env_usage_field env_usage_fields[ENV_N_USAGE_FIELDS];

/* One answer header, and all together, in bytes: what an HTTP client takes. */
enum { ENV_HEADER_NAME_MAX = 128, ENV_HEADER_VALUE_MAX = 8192, ENV_HEADERS_BYTES = 32 * 1024 };
/* Whether it may stand in an envelope behind others that take *bytes; then it takes some of them, too. */
bool env_header_fits(const struct env_header *header, size_t *bytes);

static inline const void *
env_field_get(const struct env *env, const struct env_field *field)
{
    return (const char *)env + field->offset;
}

static inline void *
env_field_at(struct env *env, const struct env_field *field)
{
    return (char *)env + field->offset;
}
