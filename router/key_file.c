/* The file of keys: see key_store.h. A line a key; what can't be read refuses the whole file, since a key
 * that is left out could be one that was revoked. Written beside it and renamed, so that a crash leaves
 * the one or the other. */
#include "core/log.h"
#include "router/key_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MAX = 256 * 1024 * 1024, /* bytes: KEYS_MAX keys with room */
    MODE = 0600,
    HOLD_WAIT_MS = 2000, /* for another process that writes; then the operator is told so */
    HOLD_RETRY_MS = 5,
};

struct key_file {
    char *path;
    char *lock_path;
    char *new_path;
    int lock_fd;      /* -1: not held */
    struct stat seen; /* the file as it was read or written last */
    bool has_seen;
    bool has_warned;
};

static bool
is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void
see(struct key_file *file, const struct stat *now)
{
    file->has_seen = now != NULL;
    if (now != NULL) {
        file->seen = *now;
    }
}

static bool
key_file_has_changed(void *self)
{
    const struct key_file *file = self;
    struct stat now;
    bool is_there = stat(file->path, &now) == 0;
    return is_there != file->has_seen || (is_there && !is_same(&now, &file->seen));
}

/* ---- reading ---- */

static int
read_all(const struct key_file *file, int fd, size_t size, char *text, struct dyn_err *err)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, text + at, size - at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return dyn_err_set(err, DYN_E_IO, "%s: %s", file->path,
                               got < 0 ? strerror(errno) : "it became shorter while it was read");
        }
        at += (size_t)got;
    }
    return 0;
}

static size_t
count_lines(struct dyn_slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }
    return n + 1;
}

static int
read_lines(const struct key_file *file, struct dyn_slice text, struct arena *arena,
           struct key_record **records, size_t *n, struct dyn_err *err)
{
    struct dyn_err why;
    size_t number = 0;
    size_t lines = count_lines(text);
    *n = 0;
    if (lines > KEYS_MAX + 1) {
        return dyn_err_set(err, DYN_E_LIMIT, "%s: more than %d keys", file->path, KEYS_MAX);
    }
    *records = arena_alloc(arena, lines * sizeof **records);
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        number++;
        if (len > 0 && key_record_read(dyn_slice(text.data, len), arena, &(*records)[*n], &why) != 0) {
            return dyn_err_set(err, DYN_E_INVALID, "%s:%zu: %s", file->path, number, why.text);
        }
        *n += len > 0;
        len += end != NULL;
        text = dyn_slice(text.data + len, text.len - len);
    }
    return 0;
}

static void
warn_of_mode(struct key_file *file, const struct stat *now)
{
    if ((now->st_mode & 077) != 0 && !file->has_warned) {
        file->has_warned = true;
        dyn_log(DYN_LOG_WARN, "keys.file.mode", "the file of keys can be read by others: chmod 600",
                DYN_LOG_STR("file", file->path));
    }
}

static int
key_file_load(void *self, const key_table_t *former, struct arena *arena, struct key_record **records,
              size_t *n, struct dyn_err *err)
{
    (void)former;
    struct key_file *file = self;
    struct stat now;
    *n = 0;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        see(file, NULL);
        return 0;
    }
    if (fd < 0 || fstat(fd, &now) != 0) {
        int why = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return dyn_err_set(err, DYN_E_IO, "%s: %s", file->path, strerror(why));
    }
    if (now.st_size > FILE_MAX || !S_ISREG(now.st_mode)) {
        (void)close(fd);
        return dyn_err_set(err, DYN_E_LIMIT, "%s: no file of at most %d MiB", file->path, FILE_MAX >> 20);
    }
    warn_of_mode(file, &now);
    see(file, &now); /* a broken one is not read again until it has changed */
    size_t size = (size_t)now.st_size;
    char *text = dyn_alloc(size + 1);
    int rc = read_all(file, fd, size, text, err);
    (void)close(fd);
    if (rc == 0) {
        rc = read_lines(file, dyn_slice(text, size), arena, records, n, err);
    }
    free(text);
    return rc;
}

/* ---- writing ---- */

static int
write_all(int fd, struct dyn_slice text)
{
    while (text.len > 0) {
        ssize_t put = write(fd, text.data, text.len);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return -1;
        }
        text = dyn_slice(text.data + put, text.len - (size_t)put);
    }
    return 0;
}

/* The rename itself is to survive, too. */
static int
sync_folder(const char *path)
{
    char *folder = dyn_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 ? fsync(fd) : -1;
    int why = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    free(folder);
    errno = why;
    return rc;
}

static int
replace(struct key_file *file, struct dyn_slice text, struct dyn_err *err)
{
    struct stat now;
    (void)unlink(file->new_path); /* of somebody who was killed; its place is ours by the lock */
    int fd = open(file->new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
    bool is_good = fd >= 0 && write_all(fd, text) == 0 && fsync(fd) == 0 && fstat(fd, &now) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && is_good) {
        is_good = false;
        why = errno;
    }
    if (is_good && rename(file->new_path, file->path) != 0) {
        is_good = false;
        why = errno;
    }
    if (!is_good) {
        (void)unlink(file->new_path);
        return dyn_err_set(err, DYN_E_IO, "%s: %s", file->path, strerror(why));
    }
    see(file, &now);
    if (sync_folder(file->path) != 0) { /* it stands there, for all that is known: it is read again */
        see(file, NULL);
        return dyn_err_set(err, DYN_E_IO, "the folder of %s: %s", file->path, strerror(errno));
    }
    return 0;
}

static int
save(struct key_file *file, const key_table_t *all, struct dyn_err *err)
{
    struct dyn_buf text = DYN_BUF_INIT;
    for (size_t i = 0; i < key_table_count(all); i++) {
        key_record_write(key_table_at(all, i), &text);
        dyn_buf_add_char(&text, '\n');
    }
    int rc = replace(file, dyn_buf_slice(&text), err);
    dyn_buf_fini(&text);
    return rc;
}

static enum key_stored
key_file_put(void *self, const struct key_record *record, const key_table_t *all,
             const struct ledger_audit *audit, struct dyn_err *err)
{
    (void)record;
    (void)audit;
    return save(self, all, err) == 0 ? KEY_STORED : KEY_NOT_STORED;
}

static enum key_stored
key_file_remove(void *self, struct dyn_slice id, const key_table_t *all, const struct ledger_audit *audit,
                struct dyn_err *err)
{
    (void)id;
    (void)audit;
    return save(self, all, err) == 0 ? KEY_STORED : KEY_NOT_STORED;
}

/* Another process may hold it for as long as it writes; one that was stopped meanwhile does not stop
 * this one. */
static int
lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = HOLD_RETRY_MS * 1000000L};
    int rc = -1;
    for (int tried_ms = 0; tried_ms <= HOLD_WAIT_MS && rc != 0; tried_ms += HOLD_RETRY_MS) {
        rc = flock(fd, LOCK_EX | LOCK_NB);
        if (rc != 0 && errno != EWOULDBLOCK && errno != EINTR) {
            return -1;
        }
        if (rc != 0) {
            (void)nanosleep(&pause, NULL);
        }
    }
    return rc;
}

/* The lock is a file of its own: the other one is another one after each change. */
static int
key_file_hold(void *self, struct dyn_err *err)
{
    struct key_file *file = self;
    int fd = open(file->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, MODE);
    if (fd >= 0 && lock_soon(fd) != 0) {
        bool is_held = errno == EWOULDBLOCK || errno == EINTR;
        (void)dyn_err_set(err, is_held ? DYN_E_FULL : DYN_E_IO, "%s: %s", file->lock_path,
                          is_held ? "another process holds it" : strerror(errno));
        (void)close(fd);
        return -1;
    }
    if (fd < 0) {
        return dyn_err_set(err, DYN_E_IO, "%s: %s", file->lock_path, strerror(errno));
    }
    file->lock_fd = fd;
    return 0;
}

static void
key_file_let_go(void *self)
{
    struct key_file *file = self;
    if (file->lock_fd >= 0) {
        (void)close(file->lock_fd);
        file->lock_fd = -1;
    }
}

static void
key_file_close(void *self)
{
    struct key_file *file = self;
    key_file_let_go(file);
    free(file->path);
    free(file->lock_path);
    free(file->new_path);
    free(file);
}

static char *
with_ending(const char *path, const char *ending)
{
    size_t len = strlen(path) + strlen(ending) + 1;
    char *text = dyn_alloc(len);
    (void)snprintf(text, len, "%s%s", path, ending);
    return text;
}

static const struct key_store_ops key_file_ops = {
    .name = "file",
    .load = key_file_load,
    .put = key_file_put,
    .remove = key_file_remove,
    .has_changed = key_file_has_changed,
    .hold = key_file_hold,
    .let_go = key_file_let_go,
    .close = key_file_close,
};

struct key_store
key_file_new(const char *path)
{
    struct key_file *file = dyn_zalloc(sizeof *file);
    char *real = realpath(path, NULL); /* what a link points to is replaced, not the link */
    file->path = dyn_strdup(real != NULL ? real : path);
    free(real);
    file->lock_path = with_ending(file->path, ".lock");
    file->new_path = with_ending(file->path, ".new");
    file->lock_fd = -1;
    return (struct key_store){&key_file_ops, file};
}
