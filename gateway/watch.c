#include "gateway/watch.h"

#include "core/log.h"
#include "gateway/gateway.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SETTLE_MS = 250, /* who writes in place or in steps has ended when nothing has changed for so long */
    LOOK_MS = 2000,  /* where the kernel tells nothing: a link into another folder, a network file system */
    ASKED_MAX = 64,
};

/* All that shows in the directory when a file comes, goes, is renamed or written. */
#define FOLDER_EVENTS (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE | IN_ATTRIB)

struct asked {
    char expected[BUS_CONFIG_HASH_SIZE];
    gateway_asked_fn done;
    void *arg;
};

struct gateway_watch {
    struct dynabus *gateway;
    pthread_t thread;
    int wake;   /* eventfd */
    int notify; /* inotify; -1: the file is only looked at now and then */
    int folder; /* its watch; -1: none */
    char *folder_path;
    struct gateway_mark taken; /* from before what was taken up last was read */
    struct gateway_mark seen;
    uint64_t seen_us;

    pthread_mutex_t lock;
    bool is_stopping; /* under the lock, as all below */
    struct asked asked[ASKED_MAX];
    size_t n_asked;
};

/* ---- the file ---- */

static bool
same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool
same_mark(const struct gateway_mark *a, const struct gateway_mark *b)
{
    return a->is_there == b->is_there && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && same_time(a->written, b->written) && same_time(a->changed, b->changed);
}

static bool
is_wanted(const struct gateway_watch *watch)
{
    struct gateway_edition *now = gateway_edition_now(watch->gateway);
    const struct gateway_config *config = config_values(now->config, &gateway_config_part);
    bool wanted = config->reload.watch;
    gateway_edition_unref(&now);
    return wanted;
}

static void
take_up(struct gateway_watch *watch)
{
    struct dyn_buf why = DYN_BUF_INIT;
    watch->taken = watch->seen;
    if (!watch->seen.is_there) {
        dyn_log(DYN_LOG_WARN, "gateway.watch", "the configuration file is gone; what is in force stays");
    } else if (is_wanted(watch)) {
        (void)gateway_take_up(watch->gateway, NULL, NULL, &why); /* which logs what became of it */
    }
    dyn_buf_fini(&why);
}

/* How long there is nothing to do. */
static int
look_at_file(struct gateway_watch *watch)
{
    const char *path = watch->gateway->reload.path;
    if (path == NULL) {
        return -1;
    }
    struct gateway_mark now = gateway_mark_of(path);
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    if (!same_mark(&now, &watch->seen)) {
        watch->seen = now;
        watch->seen_us = now_us;
    }
    if (same_mark(&watch->seen, &watch->taken)) {
        return LOOK_MS;
    }
    uint64_t settled_us = watch->seen_us + (uint64_t)SETTLE_MS * 1000;
    if (now_us < settled_us) {
        return (int)((settled_us - now_us) / 1000) + 1;
    }
    take_up(watch);
    return LOOK_MS;
}

static void
watch_folder(struct gateway_watch *watch)
{
    if (watch->notify >= 0 && watch->folder < 0) {
        watch->folder = inotify_add_watch(watch->notify, watch->folder_path, FOLDER_EVENTS);
    }
}

static void
drain_notify(struct gateway_watch *watch)
{
    _Alignas(struct inotify_event) char bytes[4096];
    ssize_t n;
    while ((n = read(watch->notify, bytes, sizeof bytes)) > 0) {
        const char *at = bytes;
        while (at < bytes + n) {
            const struct inotify_event *event = (const void *)at;
            if ((event->mask & IN_IGNORED) != 0) { /* the folder was taken away; it may come back */
                watch->folder = -1;
            }
            at += sizeof *event + event->len;
        }
    }
}

/* ---- what is asked ---- */

static bool
take_asked(struct gateway_watch *watch, struct asked *asked)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool has_one = watch->n_asked > 0;
    if (has_one) {
        *asked = watch->asked[0];
        watch->n_asked--;
        memmove(&watch->asked[0], &watch->asked[1], watch->n_asked * sizeof *asked);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return has_one;
}

static bool
is_stopping(struct gateway_watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool stopping = watch->is_stopping;
    (void)pthread_mutex_unlock(&watch->lock);
    return stopping;
}

static void
do_asked(struct gateway_watch *watch)
{
    struct asked asked;
    while (!is_stopping(watch) && take_asked(watch, &asked)) {
        struct dyn_buf why = DYN_BUF_INIT;
        enum gateway_reload_result result = gateway_reload_all(watch->gateway, asked.expected, &why);
        asked.done(asked.arg, result, dyn_buf_cstr(&why));
        dyn_buf_fini(&why);
    }
}

int
gateway_watch_ask(gateway_watch_t *watch, struct dyn_slice expected, gateway_asked_fn done, void *arg)
{
    struct asked asked = {.done = done, .arg = arg};
    (void)snprintf(asked.expected, sizeof asked.expected, "%.*s", (int)expected.len,
                   expected.data != NULL ? expected.data : "");
    (void)pthread_mutex_lock(&watch->lock);
    bool has_room = watch->n_asked < ASKED_MAX && !watch->is_stopping;
    if (has_room) {
        watch->asked[watch->n_asked++] = asked;
    }
    (void)pthread_mutex_unlock(&watch->lock);
    (void)eventfd_write(watch->wake, 1);
    return has_room ? 0 : -1;
}

/* ---- life ---- */

static void *
watch_main(void *arg)
{
    struct gateway_watch *watch = arg;
    (void)pthread_setname_np(pthread_self(), "reload");
    while (!is_stopping(watch)) {
        watch_folder(watch);
        int wait_ms = look_at_file(watch);
        struct pollfd polled[] = {{.fd = watch->wake, .events = POLLIN},
                                  {.fd = watch->notify, .events = POLLIN}};
        (void)poll(polled, watch->notify >= 0 ? 2 : 1, wait_ms);
        if ((polled[0].revents & POLLIN) != 0) {
            eventfd_t ignored;
            (void)eventfd_read(watch->wake, &ignored);
        }
        if ((polled[1].revents & POLLIN) != 0) {
            drain_notify(watch);
        }
        do_asked(watch);
    }
    return NULL;
}

static char *
folder_of(const char *path)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    if (slash == NULL) {
        return dyn_strdup(".");
    }
    return slash == path ? dyn_strdup("/") : dyn_strndup(path, (size_t)(slash - path));
}

void
gateway_watch_free(gateway_watch_t **watch_p)
{
    gateway_watch_t *watch = *watch_p;
    *watch_p = NULL;
    if (watch == NULL) {
        return;
    }
    if (watch->notify >= 0) {
        (void)close(watch->notify);
    }
    if (watch->wake >= 0) {
        (void)close(watch->wake);
    }
    (void)pthread_mutex_destroy(&watch->lock);
    free(watch->folder_path);
    free(watch);
}

/* Signals are the business of the thread that started the gateway. */
static int
start_thread(struct gateway_watch *watch)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&watch->thread, NULL, watch_main, watch);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

gateway_watch_t *
gateway_watch_start(struct dynabus *gateway, struct dyn_err *err)
{
    struct gateway_watch *watch = dyn_zalloc(sizeof *watch);
    const char *path = gateway->reload.path;
    watch->gateway = gateway;
    watch->folder = -1;
    watch->folder_path = folder_of(path);
    (void)pthread_mutex_init(&watch->lock, NULL);
    watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch->notify = path != NULL ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
    watch->taken = watch->seen = gateway->reload.mark; /* it may have changed since: the thread will see */
    int failed = watch->wake < 0 ? errno : start_thread(watch);
    if (failed != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "cannot watch the configuration: %s", strerrordesc_np(failed));
        gateway_watch_free(&watch);
        return NULL;
    }
    return watch;
}

void
gateway_watch_stop(gateway_watch_t *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    watch->is_stopping = true;
    (void)pthread_mutex_unlock(&watch->lock);
    (void)eventfd_write(watch->wake, 1);
    (void)pthread_join(watch->thread, NULL);
    for (struct asked asked; take_asked(watch, &asked);) {
        asked.done(asked.arg, GATEWAY_RELOAD_REFUSED, "the gateway is closing");
    }
}
