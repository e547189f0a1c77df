/* References of one value at a time: found from front to back, looked up, put in. What was put in is not
 * looked at again. Reads files, and only such as end by themselves; runs while a configuration is loaded,
 * never beside requests. */
#include "core/config_refs.h"

#include "core/config_tree.h"
#include "core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Certificates and keys are a few KiB; whatever is larger is not a value. */
#define FILE_BYTES_MAX (64u * 1024)
/* All values together: a reference takes 4 bytes in the file and may give 64 KiB. */
#define EXPANDED_BYTES_MAX (4u * 1024 * 1024)
#define FILE_PREFIX        "file:"
/* Between ${ and }: paths are shorter (PATH_MAX), and a search for the brace must end. */
#define REFERENCE_BYTES_MAX 4096

struct reference {
    struct dyn_slice whole;  /* with ${ and } */
    struct dyn_slice target; /* the name or the path */
    bool is_file;
};

/* One value that is being resolved. */
struct job {
    struct config_refs *refs;
    struct config_mark mark;
    const char *path;
    struct dyn_buf out;
    bool has_problem;
};

static bool
is_name_char(char c, bool is_first)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return is_letter || (!is_first && c >= '0' && c <= '9');
}

static bool
is_variable_name(struct dyn_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name_char(name.data[i], i == 0)) {
            return false;
        }
    }
    return name.len > 0;
}

/* The reference that begins at `at`, if one does. */
static bool
reference_at(const char *at, const char *end, struct reference *found)
{
    if (end - at < 4 || at[0] != '$' || at[1] != '{') {
        return false;
    }
    size_t within = end - at < REFERENCE_BYTES_MAX ? (size_t)(end - at) : REFERENCE_BYTES_MAX;
    const char *close = memchr(at, '}', within);
    if (close == NULL) {
        return false;
    }
    size_t prefix = sizeof FILE_PREFIX - 1;
    found->whole = dyn_slice(at, (size_t)(close + 1 - at));
    found->target = dyn_slice(at + 2, (size_t)(close - at - 2));
    found->is_file = found->target.len > prefix && memcmp(found->target.data, FILE_PREFIX, prefix) == 0;
    if (found->is_file) {
        found->target = dyn_slice(found->target.data + prefix, found->target.len - prefix);
    }
    return found->is_file || is_variable_name(found->target);
}

static bool
next_reference(struct dyn_slice text, struct reference *found)
{
    const char *end = text.data + text.len;
    for (const char *at = text.data; (at = memchr(at, '$', (size_t)(end - at))) != NULL; at++) {
        if (reference_at(at, end, found)) {
            return true;
        }
    }
    return false;
}

bool
config_refs_any(struct dyn_slice text)
{
    struct reference found;
    return next_reference(text, &found);
}

static void
problem(struct job *job, struct dyn_slice target, const char *before, const char *after)
{
    job->has_problem = true;
    config_problem_refuse(job->refs->problems, job->mark, "'%s' %s %s%s%s", job->path, before,
                          config_name(target, 160).text, *after ? ", " : "", after);
}

static const char *
variable(const struct config_refs *refs, const char *name)
{
    return refs->lookup != NULL ? refs->lookup->variable(refs->lookup->self, name) : getenv(name);
}

static bool
is_text(struct dyn_slice bytes)
{
    const char *end = bytes.data + bytes.len;
    for (const char *at = bytes.data; at < end;) {
        size_t len = dyn_utf8_len(at, end);
        if (len == 0 || *at == '\0') {
            return false;
        }
        at += len;
    }
    return true;
}

static void
add_variable(struct job *job, struct dyn_slice target)
{
    char *name = dyn_strndup(target.data, target.len);
    const char *value = variable(job->refs, name);
    free(name);
    if (value == NULL) {
        problem(job, target, "refers to the environment variable", "which is not set");
        return;
    }
    if (!is_text(dyn_slice_str(value))) {
        problem(job, target, "refers to the environment variable", "which is not UTF-8 text");
        return;
    }
    dyn_buf_add_str(&job->out, value);
}

/* The path as the process can open it. The caller frees it. */
static char *
full_path(const struct config_refs *refs, struct dyn_slice path)
{
    const char *slash = strrchr(refs->name, '/');
    size_t folder = path.data[0] == '/' || slash == NULL ? 0 : (size_t)(slash + 1 - refs->name);
    char *full = dyn_alloc(folder + path.len + 1);
    memcpy(full, refs->name, folder);
    memcpy(full + folder, path.data, path.len);
    full[folder + path.len] = '\0';
    return full;
}

/* Reads at most FILE_BYTES_MAX + 1 bytes; -1 with errno. */
static ssize_t
read_all(int fd, char *bytes)
{
    size_t used = 0;
    while (used < FILE_BYTES_MAX + 1) {
        ssize_t n = read(fd, bytes + used, FILE_BYTES_MAX + 1 - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    return (ssize_t)used;
}

/* Opens what can be read without waiting: a pipe could keep the start waiting for ever. */
static int
open_regular(const char *path, const char **why)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        *why = strerrordesc_np(errno);
    } else if (!S_ISREG(info.st_mode)) {
        *why = S_ISDIR(info.st_mode) ? "which is a folder" : "which is not a regular file";
    } else {
        return fd;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

static struct dyn_slice
without_line_end(struct dyn_slice bytes)
{
    if (bytes.len > 0 && bytes.data[bytes.len - 1] == '\n') {
        bytes.len--;
        bytes.len -= bytes.len > 0 && bytes.data[bytes.len - 1] == '\r' ? 1 : 0;
    }
    return bytes;
}

static void
add_file(struct job *job, struct dyn_slice target)
{
    const char *why = NULL;
    char *path = full_path(job->refs, target);
    int fd = open_regular(path, &why);
    free(path);
    if (fd < 0) {
        problem(job, target, "refers to the file", why);
        return;
    }
    char *bytes = dyn_alloc(FILE_BYTES_MAX + 1);
    ssize_t n = read_all(fd, bytes);
    int error = errno;
    (void)close(fd);
    if (n < 0) {
        problem(job, target, "refers to the file", strerrordesc_np(error));
    } else if ((size_t)n > FILE_BYTES_MAX) {
        problem(job, target, "refers to the file", "which is larger than 64 KiB");
    } else if (!is_text(dyn_slice(bytes, (size_t)n))) {
        problem(job, target, "refers to the file", "which is not UTF-8 text");
    } else {
        dyn_buf_add_slice(&job->out, without_line_end(dyn_slice(bytes, (size_t)n)));
    }
    explicit_bzero(bytes, n > 0 ? (size_t)n : 0);
    free(bytes);
}

static void
add_pieces(struct job *job, struct dyn_slice text)
{
    struct reference found;
    while (!job->out.failed && next_reference(text, &found)) {
        dyn_buf_add(&job->out, text.data, (size_t)(found.whole.data - text.data));
        if (found.is_file) {
            add_file(job, found.target);
        } else {
            add_variable(job, found.target);
        }
        const char *behind = found.whole.data + found.whole.len;
        text = dyn_slice(behind, (size_t)(text.data + text.len - behind));
    }
    dyn_buf_add_slice(&job->out, text);
}

/* "${" that is data is most often a reference that was meant: ${NAME:-default}, ${my-name}, ${NAME. */
static void
warn_of_near_references(struct job *job, struct dyn_slice text)
{
    const char *end = text.data + text.len;
    for (const char *at = text.data; (at = memchr(at, '$', (size_t)(end - at))) != NULL; at++) {
        struct reference found;
        if (end - at >= 2 && at[1] == '{' && !reference_at(at, end, &found)) {
            config_problem_add(job->refs->problems, job->mark, true,
                               "'%s' has a '${' that is taken as text: references are ${NAME} and "
                               "${file:PATH}",
                               job->path);
            return;
        }
    }
}

int
config_refs_resolve(struct config_refs *refs, struct dyn_slice text, struct config_mark mark,
                    const char *path, struct dyn_slice *out)
{
    struct job job = {.refs = refs, .mark = mark, .path = path};
    warn_of_near_references(&job, text);
    if (!config_refs_any(text)) {
        *out = text;
        return 0;
    }
    size_t left = EXPANDED_BYTES_MAX - refs->expanded_bytes;
    job.out = (struct dyn_buf)DYN_BUF_INIT_LIMIT(left);
    job.out.failed = left == 0; /* where the buffer would take 0 for unlimited */
    add_pieces(&job, text);
    if (job.out.failed) {
        job.has_problem = true;
        config_problem_refuse(refs->problems, mark, "'%s' makes all references together larger than %u bytes",
                              path, EXPANDED_BYTES_MAX);
    }
    if (!job.has_problem) {
        refs->expanded_bytes += job.out.len;
        *out = arena_copy(refs->arena, dyn_slice(job.out.data ? job.out.data : "", job.out.len));
    }
    if (job.out.data != NULL) {
        explicit_bzero(job.out.data, job.out.cap);
    }
    dyn_buf_fini(&job.out);
    return job.has_problem ? -1 : 0;
}
