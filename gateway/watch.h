/* The watch: a thread of its own that takes up the configuration file when it has changed, and when the bus
 * asks for it. What a reload does is reload.c's business. */
#pragma once

#include "core/err.h"
#include "gateway/reload.h"

typedef struct gateway_watch gateway_watch_t;

/* After the bus has started. Without a file it only does what it is asked. */
gateway_watch_t *gateway_watch_start(struct dynabus *gateway, struct dyn_err *err);
/* Waits for a reload that is under way; what was asked and not begun is refused, as all that is asked
 * later. */
void gateway_watch_stop(gateway_watch_t *watch);
/* After gateway_watch_stop(), when nobody can ask any more. NULL is accepted. */
void gateway_watch_free(gateway_watch_t **watch_p);

/* What became of it. `why`: a line for each thing that can't be used, or "". */
typedef void (*gateway_asked_fn)(void *arg, enum gateway_reload_result result, const char *why);
/* Any thread. Reads everything again; `expected`: the hash that the configuration must have, "": any. `done`
 * is called on the watch's thread, or by gateway_watch_stop(). -1, and `done` is not called, when too many
 * wait or the watch was stopped. */
int gateway_watch_ask(gateway_watch_t *watch, struct dyn_slice expected, gateway_asked_fn done, void *arg);
