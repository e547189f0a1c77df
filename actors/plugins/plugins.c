/* The table of built-in plugins, and the words for what they are. */
#include "actors/plugins/plugin.h"

static const struct plugin_ops *const builtins[] = {
#define PLUGIN(symbol) &plugin_##symbol,
#include "actors/plugins/plugins.def"
#undef PLUGIN
    NULL,
};

static const char *const type_names[PLUGIN_TYPE_COUNT] = {
    [PLUGIN_GUARDRAIL] = "guardrail", [PLUGIN_AUTH] = "auth",       [PLUGIN_RATELIMIT] = "ratelimit",
    [PLUGIN_TRANSFORM] = "transform", [PLUGIN_LOGGING] = "logging", [PLUGIN_METRICS] = "metrics",
};

const char *
plugin_type_name(enum plugin_type type)
{
    return (unsigned)type < PLUGIN_TYPE_COUNT ? type_names[type] : "unknown";
}

int
plugin_type_by_name(struct dyn_slice name)
{
    for (int type = 0; type < PLUGIN_TYPE_COUNT; type++) {
        if (dyn_slice_is(name, type_names[type])) {
            return type;
        }
    }
    return -1;
}

/* behaviour: a budget's refusal is about money, a rate limit's about time. */
enum err_code
plugin_denial(struct dyn_slice name, enum plugin_type type)
{
    if (dyn_slice_is(name, "budget")) {
        return ERR_INSUFFICIENT_QUOTA;
    }
    return type == PLUGIN_RATELIMIT ? ERR_RATE_LIMITED : ERR_REQUEST_REJECTED;
}

const struct plugin_ops *
plugin_builtin(struct dyn_slice name)
{
    for (size_t i = 0; builtins[i] != NULL; i++) {
        if (dyn_slice_is(name, builtins[i]->name)) {
            return builtins[i];
        }
    }
    return NULL;
}

const struct plugin_ops *
plugin_builtin_at(size_t index)
{
    return index < DYN_ARRAY_LEN(builtins) ? builtins[index] : NULL;
}
