/* Certificate files, see cert.h. The only file of ours that knows CZMQ.
 *
 * CZMQ keeps a process-wide context and takes over SIGINT and SIGTERM as soon as anything in it opens a
 * socket or calls zsys_init(). Read in its source (4.2.1) and held by a test: zconfig_new, _put, _get,
 * _locate, _child, _str_load, _str_save and _destroy do neither, they only work on memory. That is why
 * the files are opened, bounded and created here, and why zcert itself is not used: it takes a broken
 * key for a key of zeros, writes over what is there, cuts paths at 256 characters, and makes the secret
 * file private by changing the umask of the whole process. A syntax error in a file is also printed on
 * standard output by zconfig; nothing switches that off. */
#include "bus/cert.h"

#include "core/log.h"

#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

/* A certificate has a few hundred bytes; a folder may hold anything. */
enum { CERT_FILE_MAX = 64 * 1024, KEY_BYTES = 32, PATH_TEXT_MAX = 4096 };
static const mode_t PUBLIC_MODE = 0644;
static const mode_t SECRET_MODE = 0600;
/* A key that somebody else can read, or that a group can change. */
static const mode_t TOO_OPEN = S_IRWXO | S_IWGRP;

bool
bus_key_is_valid(struct dyn_slice text)
{
    char copy[BUS_KEY_TEXT];
    uint8_t bytes[KEY_BYTES];
    if (text.len != BUS_KEY_TEXT - 1 || memchr(text.data, '\0', text.len) != NULL) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    bool valid = zmq_z85_decode(bytes, copy) != NULL;
    explicit_bzero(copy, sizeof copy);
    explicit_bzero(bytes, sizeof bytes);
    return valid;
}

/* ---- reading ---- */

static int
not_readable(const char *path, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_IO, "%s: %s", path, strerror(errno));
}

static int
read_open_file(int fd, const char *path, char *text, size_t size, struct dyn_err *err)
{
    struct stat stat;
    size_t len = 0;
    if (fstat(fd, &stat) != 0) {
        return not_readable(path, err);
    }
    if (!S_ISREG(stat.st_mode)) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: is not a file", path);
    }
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n < 0) {
            return not_readable(path, err);
        }
        if (n == 0) {
            text[len] = '\0';
            return memchr(text, '\0', len) == NULL
                       ? 0
                       : dyn_err_set(err, DYN_E_CONFIG, "%s: is not a certificate", path);
        }
        len += (size_t)n;
    }
    return dyn_err_set(err, DYN_E_LIMIT, "%s: is too large for a certificate", path);
}

/* Does not wait for a FIFO that somebody put into the folder. */
static int
read_file(const char *path, char *text, size_t size, struct dyn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return not_readable(path, err);
    }
    int result = read_open_file(fd, path, text, size, err);
    (void)close(fd);
    return result;
}

/* "keys/anna.key_secret" gives "anna". */
static void
name_of_file(const char *path, char out[BUS_CERT_NAME_MAX])
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t len = strcspn(base, ".");
    const char *secret = strstr(base, "_secret");
    if (secret != NULL && (size_t)(secret - base) < len) {
        len = (size_t)(secret - base);
    }
    (void)snprintf(out, BUS_CERT_NAME_MAX, "%.*s", (int)len, base);
}

static bool
is_printable(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at < ' ' || *at == 0x7f) {
            return false;
        }
    }
    return true;
}

static int
take_key(const char *path, const char *what, const char *text, char out[BUS_KEY_TEXT], struct dyn_err *err)
{
    if (!bus_key_is_valid(dyn_slice_str(text))) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: %s is not a CURVE key (40 characters of Z85)", path, what);
    }
    memcpy(out, text, BUS_KEY_TEXT);
    return 0;
}

static int
take_metadata(const char *path, zconfig_t *root, struct bus_cert *cert, struct dyn_err *err)
{
    const char *role = zconfig_get(root, "metadata/role", "");
    const char *name = zconfig_get(root, "metadata/name", "");
    name_of_file(path, cert->name);
    if (role[0] != '\0') {
        cert->role = bus_role_by_name(dyn_slice_str(role));
        if (cert->role == BUS_ROLE_NONE) {
            return dyn_err_set(err, DYN_E_CONFIG, "%s: there is no role '%.40s'", path, role);
        }
    }
    if (strlen(name) >= BUS_CERT_NAME_MAX || !is_printable(name)) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: its name is longer than %d characters or not printable",
                           path, BUS_CERT_NAME_MAX - 1);
    }
    if (name[0] != '\0') {
        (void)snprintf(cert->name, sizeof cert->name, "%s", name);
    }
    return 0;
}

static int
take_cert(const char *path, zconfig_t *root, struct bus_cert *cert, struct dyn_err *err)
{
    const char *public_key = zconfig_get(root, "curve/public-key", NULL);
    const char *secret_key = zconfig_get(root, "curve/secret-key", NULL);
    if (public_key == NULL) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: is not a certificate: it has no curve/public-key", path);
    }
    if (take_key(path, "public-key", public_key, cert->public_key, err) != 0 ||
        (secret_key != NULL && take_key(path, "secret-key", secret_key, cert->secret_key, err) != 0)) {
        return -1;
    }
    return take_metadata(path, root, cert, err);
}

int
bus_cert_load(const char *path, struct bus_cert *cert, struct dyn_err *err)
{
    char *text = dyn_alloc(CERT_FILE_MAX);
    memset(cert, 0, sizeof *cert);
    int result = read_file(path, text, CERT_FILE_MAX, err);
    if (result == 0) {
        zconfig_t *root = zconfig_str_load(text);
        result = root != NULL ? take_cert(path, root, cert, err)
                              : dyn_err_set(err, DYN_E_CONFIG, "%s: is not a certificate", path);
        zconfig_destroy(&root);
    }
    explicit_bzero(text, CERT_FILE_MAX);
    free(text);
    if (result != 0) {
        explicit_bzero(cert, sizeof *cert);
    }
    return result;
}

static void
warn_when_open(const char *path)
{
    struct stat state;
    if (stat(path, &state) == 0 && (state.st_mode & TOO_OPEN) != 0) {
        dyn_log(DYN_LOG_WARN, "bus.key_open", "a secret key can be read or changed by others: chmod 600",
                DYN_LOG_STR("file", path));
    }
}

static int
secret_path(const char *path, char out[PATH_TEXT_MAX], struct dyn_err *err)
{
    int len = snprintf(out, PATH_TEXT_MAX, "%s_secret", path);
    return len > 0 && len < PATH_TEXT_MAX ? 0 : dyn_err_set(err, DYN_E_LIMIT, "%.80s..: too long", path);
}

int
bus_cert_load_pair(const char *path, struct bus_cert *cert, struct dyn_err *err)
{
    char secret[PATH_TEXT_MAX];
    if (secret_path(path, secret, err) != 0) {
        return -1;
    }
    const char *file = access(secret, F_OK) == 0 ? secret : path;
    if (bus_cert_load(file, cert, err) != 0) {
        return -1;
    }
    if (cert->secret_key[0] == '\0') {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: has no secret key, and there is no %s", path, secret);
    }
    warn_when_open(file);
    return 0;
}

/* ---- making and writing ---- */

/* It becomes a file's name and a value in quotes. */
static bool
is_good_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len < BUS_CERT_NAME_MAX && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

int
bus_cert_make(enum bus_role role, const char *name, struct bus_cert *cert, struct dyn_err *err)
{
    memset(cert, 0, sizeof *cert);
    if (!is_good_name(name)) {
        return dyn_err_set(err, DYN_E_INVALID,
                           "'%.80s' is not a name for a key: up to %d letters, digits, '.', '_' and '-'",
                           name, BUS_CERT_NAME_MAX - 1);
    }
    if (zmq_curve_keypair(cert->public_key, cert->secret_key) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot make a key pair: %s", zmq_strerror(zmq_errno()));
    }
    cert->role = role;
    (void)snprintf(cert->name, sizeof cert->name, "%s", name);
    return 0;
}

static char *
cert_text(const struct bus_cert *cert, bool secret)
{
    zconfig_t *root = zconfig_new("root", NULL);
    zconfig_set_comment(root, secret ? "   CURVE key pair of the bus: keep it secret, never copy it to others"
                                     : "   CURVE public key of the bus: give it to who shall know this peer");
    zconfig_put(root, "/metadata/name", cert->name);
    if (cert->role != BUS_ROLE_NONE) {
        zconfig_put(root, "/metadata/role", bus_role_name(cert->role));
    }
    zconfig_put(root, "/curve/public-key", cert->public_key);
    if (secret) {
        zconfig_put(root, "/curve/secret-key", cert->secret_key);
    }
    char *text = zconfig_str_save(root);
    zconfig_destroy(&root);
    return text;
}

static int
write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n <= 0) {
            return -1;
        }
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

/* The mode holds from the first moment; the umask can only take away from it. */
static int
write_new_file(const char *path, const char *text, mode_t mode, struct dyn_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return errno == EEXIST ? dyn_err_set(err, DYN_E_INVALID, "%s exists and is left as it is", path)
                               : not_readable(path, err);
    }
    int failed = write_all(fd, text, strlen(text));
    if (close(fd) != 0 || failed != 0) {
        (void)not_readable(path, err);
        (void)unlink(path);
        return -1;
    }
    return 0;
}

static int
write_half(const struct bus_cert *cert, const char *path, bool secret, struct dyn_err *err)
{
    char *text = cert_text(cert, secret);
    int result = write_new_file(path, text, secret ? SECRET_MODE : PUBLIC_MODE, err);
    explicit_bzero(text, strlen(text));
    free(text);
    return result;
}

int
bus_cert_save(const struct bus_cert *cert, const char *path, struct dyn_err *err)
{
    char secret[PATH_TEXT_MAX];
    if (secret_path(path, secret, err) != 0 || write_half(cert, secret, true, err) != 0) {
        return -1;
    }
    if (write_half(cert, path, false, err) != 0) {
        (void)unlink(secret);
        return -1;
    }
    return 0;
}
