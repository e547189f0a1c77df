/* Names of hosts to addresses, without ever holding up a loop: getaddrinfo() runs on threads that are
 * started when a name is asked for, at most BUS_RESOLVER_THREADS, so that one dead name server does not
 * keep the other names waiting. Numbers need no thread. The inside of bus/links.h. */
#pragma once

#include "bus/links.h"

enum {
    BUS_RESOLVER_THREADS = 4,
    BUS_ADDRESS_TEXT = 64,    /* INET6_ADDRSTRLEN, '%', IF_NAMESIZE */
    BUS_ADDRESSES_MAX = 256,  /* of one name; what is beyond is left out */
};

/* Numbers as text, sorted, each once. */
struct bus_addresses {
    size_t n;
    char text[BUS_ADDRESSES_MAX][BUS_ADDRESS_TEXT];
};

/* May block; any thread. -1 with err. Tests bring their own. */
typedef int bus_lookup_fn(void *self, const char *host, struct bus_addresses *addresses, struct dyn_err *err);
int bus_lookup_system(void *self, const char *host, struct bus_addresses *addresses, struct dyn_err *err);
bus_resolver_t *bus_resolver_new_with(bus_lookup_fn *lookup, void *self);

/* Is it a number, or the name of this host that is the same everywhere? Then what it stands for. */
bool bus_address_is_number(const char *host, char out[BUS_ADDRESS_TEXT]);

struct bus_question;
/* `addresses` is NULL and err says why when there is no answer. Borrowed until return. */
typedef void bus_answer_fn(void *arg, const struct bus_addresses *addresses, const struct dyn_err *err);
/* `answer` is called once, on `loop`, unless the question is cancelled before. From that loop. */
struct bus_question *bus_resolver_ask(bus_resolver_t *resolver, const char *host, bus_loop_t *loop,
                                      bus_answer_fn *answer, void *arg);
/* Not after its answer has come. */
void bus_question_cancel(struct bus_question **question_p);
