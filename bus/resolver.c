/* Names of hosts, see resolver.h. getaddrinfo() can't be interrupted and may take half a minute, so
 * nobody waits for it: a thread that hangs in it outlives its resolver and frees what they share. */
#include "bus/resolver.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum question_state {
    QUESTION_QUEUED,
    QUESTION_LOOKING, /* a thread works on it */
    QUESTION_POSTED,  /* its answer is on the way to the loop */
};

struct bus_question {
    struct dyn_list link; /* in resolver->queue while queued */
    struct bus_resolver *resolver;
    bus_loop_t *loop;
    bus_answer_fn *answer;
    void *arg;
    enum question_state state; /* under the lock, as is: */
    bool cancelled;
    bool failed;
    struct dyn_err err;
    struct bus_addresses addresses;
    char host[];
};

struct bus_resolver {
    bus_lookup_fn *lookup;
    void *self;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t asked; /* or closing */
    pthread_cond_t ended; /* a thread */
    struct dyn_list queue;
    unsigned n_queued;
    unsigned n_threads;
    unsigned n_idle; /* of these, waiting for a question */
    bool closing;    /* the owner has gone, or is about to */
    bool abandoned;  /* ... without waiting: the last thread frees */
};

/* ---- looking up ---- */

bool
bus_address_is_number(const char *host, char out[BUS_ADDRESS_TEXT])
{
    unsigned char bytes[sizeof(struct in6_addr)];
    size_t len = strlen(host);
    /* What a bus binds to by default, also where the name has an address of IPv6 first. */
    if (strcmp(host, "localhost") == 0) {
        memcpy(out, "127.0.0.1", sizeof "127.0.0.1");
        return true;
    }
    /* A zone of IPv6 (fe80::1%eth0) stays what it is. */
    char number[BUS_ADDRESS_TEXT];
    size_t number_len = strcspn(host, "%");
    if (len >= BUS_ADDRESS_TEXT) {
        return false;
    }
    memcpy(number, host, number_len);
    number[number_len] = '\0';
    if (inet_pton(AF_INET6, number, bytes) != 1 &&
        (number_len != len || inet_pton(AF_INET, number, bytes) != 1)) {
        return false;
    }
    memcpy(out, host, len + 1);
    return true;
}

static int
compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void
sort_once_each(struct bus_addresses *addresses)
{
    size_t n = 0;
    qsort(addresses->text, addresses->n, sizeof addresses->text[0], compare_text);
    for (size_t i = 0; i < addresses->n; i++) {
        if (n == 0 || strcmp(addresses->text[n - 1], addresses->text[i]) != 0) {
            memmove(addresses->text[n++], addresses->text[i], sizeof addresses->text[0]);
        }
    }
    addresses->n = n;
}

static void
take_family(const struct addrinfo *list, int family, struct bus_addresses *addresses)
{
    for (const struct addrinfo *at = list; at != NULL && addresses->n < BUS_ADDRESSES_MAX; at = at->ai_next) {
        if (at->ai_family == family && getnameinfo(at->ai_addr, at->ai_addrlen, addresses->text[addresses->n],
                                                   BUS_ADDRESS_TEXT, NULL, 0, NI_NUMERICHOST) == 0) {
            addresses->n++;
        }
    }
}

/* A host with addresses of both families is one peer, not two: IPv4 where there is any. */
int
bus_lookup_system(void *self, const char *host, struct bus_addresses *addresses, struct dyn_err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    (void)self;
    int failed = getaddrinfo(host, NULL, &hints, &list);
    if (failed != 0) {
        return dyn_err_set(err, DYN_E_IO, "%s: %s", host, gai_strerror(failed));
    }
    take_family(list, AF_INET, addresses);
    if (addresses->n == 0) {
        take_family(list, AF_INET6, addresses);
    }
    freeaddrinfo(list);
    sort_once_each(addresses);
    return addresses->n > 0 ? 0 : dyn_err_set(err, DYN_E_IO, "%s: no address", host);
}

/* ---- the threads ---- */

static void
deliver(void *arg)
{
    struct bus_question *question = arg;
    if (!question->cancelled) { /* written on this very loop */
        /* Who posted it is through with the loop then, which may end as soon as nobody asks any more. */
        (void)pthread_mutex_lock(&question->resolver->lock);
        (void)pthread_mutex_unlock(&question->resolver->lock);
        question->answer(question->arg, question->failed ? NULL : &question->addresses, &question->err);
    }
    free(question);
}

/* Locked. Posting under the lock: until the question is cancelled its loop is there. */
static void
finish(struct bus_question *question)
{
    if (question->cancelled) {
        free(question);
        return;
    }
    question->state = QUESTION_POSTED;
    bus_loop_post(question->loop, deliver, question);
}

static struct bus_question *
next_question(struct bus_resolver *resolver)
{
    struct dyn_list *link = dyn_list_pop(&resolver->queue);
    struct bus_question *question = DYN_CONTAINER_OF(link, struct bus_question, link);
    resolver->n_queued--;
    question->state = QUESTION_LOOKING;
    return question;
}

static void
free_resolver(struct bus_resolver *resolver)
{
    (void)pthread_mutex_destroy(&resolver->lock);
    (void)pthread_cond_destroy(&resolver->asked);
    (void)pthread_cond_destroy(&resolver->ended);
    free(resolver);
}

static void *
run(void *arg)
{
    struct bus_resolver *resolver = arg;
    (void)pthread_mutex_lock(&resolver->lock);
    while (!resolver->closing) {
        if (dyn_list_is_empty(&resolver->queue)) {
            resolver->n_idle++;
            (void)pthread_cond_wait(&resolver->asked, &resolver->lock);
            resolver->n_idle--;
            continue;
        }
        struct bus_question *question = next_question(resolver);
        (void)pthread_mutex_unlock(&resolver->lock);
        question->failed =
            resolver->lookup(resolver->self, question->host, &question->addresses, &question->err) != 0;
        (void)pthread_mutex_lock(&resolver->lock);
        finish(question);
    }
    bool is_last = --resolver->n_threads == 0 && resolver->abandoned;
    (void)pthread_cond_signal(&resolver->ended);
    (void)pthread_mutex_unlock(&resolver->lock);
    if (is_last) {
        free_resolver(resolver);
    }
    return NULL;
}

/* Locked. When it cannot be started the question waits for the next one to be asked. */
static void
start_thread(struct bus_resolver *resolver)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &attributes, run, resolver) == 0) {
        resolver->n_threads++;
        (void)pthread_setname_np(thread, "resolver");
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
}

/* ---- questions ---- */

struct bus_question *
bus_resolver_ask(bus_resolver_t *resolver, const char *host, bus_loop_t *loop, bus_answer_fn *answer,
                 void *arg)
{
    size_t size = strlen(host) + 1;
    struct bus_question *question = dyn_zalloc(sizeof *question + size);
    memcpy(question->host, host, size);
    question->resolver = resolver;
    question->loop = loop;
    question->answer = answer;
    question->arg = arg;
    (void)pthread_mutex_lock(&resolver->lock);
    dyn_list_append(&resolver->queue, &question->link);
    resolver->n_queued++;
    if (resolver->n_queued > resolver->n_idle && resolver->n_threads < BUS_RESOLVER_THREADS) {
        start_thread(resolver);
    }
    (void)pthread_cond_signal(&resolver->asked);
    (void)pthread_mutex_unlock(&resolver->lock);
    return question;
}

void
bus_question_cancel(struct bus_question **question_p)
{
    struct bus_question *question = *question_p;
    *question_p = NULL;
    if (question == NULL) {
        return;
    }
    struct bus_resolver *resolver = question->resolver;
    (void)pthread_mutex_lock(&resolver->lock);
    question->cancelled = true;
    bool is_queued = question->state == QUESTION_QUEUED;
    if (is_queued) {
        dyn_list_remove(&question->link);
        resolver->n_queued--;
    }
    (void)pthread_mutex_unlock(&resolver->lock);
    if (is_queued) {
        free(question);
    }
}

/* ---- life ---- */

bus_resolver_t *
bus_resolver_new_with(bus_lookup_fn *lookup, void *self)
{
    struct bus_resolver *resolver = dyn_zalloc(sizeof *resolver);
    resolver->lookup = lookup;
    resolver->self = self;
    dyn_list_init(&resolver->queue);
    (void)pthread_mutex_init(&resolver->lock, NULL);
    (void)pthread_cond_init(&resolver->asked, NULL);
    (void)pthread_cond_init(&resolver->ended, NULL);
    return resolver;
}

bus_resolver_t *
bus_resolver_new(void)
{
    return bus_resolver_new_with(bus_lookup_system, NULL);
}

/* Waits for threads that wait for a question, not for one that waits for a name server. */
void
bus_resolver_free(bus_resolver_t **resolver_p)
{
    struct bus_resolver *resolver = *resolver_p;
    *resolver_p = NULL;
    if (resolver == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&resolver->lock);
    DYN_ASSERT(dyn_list_is_empty(&resolver->queue)); /* who asked has cancelled */
    resolver->closing = true;
    (void)pthread_cond_broadcast(&resolver->asked);
    while (resolver->n_idle > 0) {
        (void)pthread_cond_wait(&resolver->ended, &resolver->lock);
    }
    resolver->abandoned = resolver->n_threads > 0;
    bool is_last = !resolver->abandoned;
    (void)pthread_mutex_unlock(&resolver->lock);
    if (is_last) {
        free_resolver(resolver);
    }
}
