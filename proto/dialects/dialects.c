/* The list of dialects. A new one is a file beside this, a line here, and a folder of golden files. */
#include "proto/dialects/dialect.h"

static const struct dialect_ops *const dialects[] = {
    &dialect_openai_chat,
    &dialect_anthropic_messages,
    &dialect_openai_embeddings,
};

const struct dialect_ops *
dialect_find(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(dialects); i++) {
        if (dyn_slice_is(name, dialects[i]->name)) {
            return dialects[i];
        }
    }
    return NULL;
}

const char *
dialect_param_name(unsigned number)
{
    static const char *const names[] = {
#define DIALECT_PARAM(name, key) key,
#include "proto/dialects/params.def"
#undef DIALECT_PARAM
    };
    DYN_ASSERT(number < DYN_ARRAY_LEN(names));
    return names[number];
}

const struct dialect_ops *
dialect_at(size_t index)
{
    return index < DYN_ARRAY_LEN(dialects) ? dialects[index] : NULL;
}

const struct dialect_ops *
dialect_of_surface(enum env_surface surface)
{
    switch ((int)surface) {
    case ENV_SURFACE_CHAT:
        return &dialect_openai_chat;
    case ENV_SURFACE_EMBEDDINGS:
        return &dialect_openai_embeddings;
    default:
        return NULL;
    }
}
