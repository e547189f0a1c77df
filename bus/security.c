/* The keys of one process, see security.h. Readers (the ZAP handlers at each handshake, ports at each
 * first frame of a peer) share a lock; a reload builds a new table and swaps it in.
 *
 * Files are read by bus/cert.c. The socket options are RFC 26 (CURVE) and RFC 27 (ZAP) as libzmq has
 * them. */
#include "bus/security.h"

#include "bus/cert.h"
#include "bus/endpoint.h"
#include "core/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

/* libzmq keeps the name for its drafts, but takes the option in every build: without it a server whose
 * ZAP handler is missing would let everybody in. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

/* Files in the folder of allowed keys: a bound against a wrong path, about 8 MiB of table. */
enum { ALLOWED_MAX = 65536 };

struct allowed_key {
    char key[BUS_KEY_TEXT];
    char name[BUS_CERT_NAME_MAX];
    enum bus_role role;
};

struct key_table {
    struct allowed_key *keys; /* sorted by key */
    size_t n;
    size_t cap;
};

struct key_lock {
    pthread_mutex_t mutex;
};

struct bus_security {
    struct bus_cert own; /* public_key "" without CURVE */
    char (*servers)[BUS_KEY_TEXT];
    size_t n_servers;
    char *allowed; /* the folder, or NULL */
    bool insecure;
    atomic_uint_fast64_t generation;
    atomic_uint_fast64_t refused;

    struct key_lock *lock;  /* of its own: who only asks takes it too */
    struct key_table table; /* under the lock */
};

/* ---- roles ---- */

static const char *const role_names[BUS_ROLE_COUNT] = {
    [BUS_ROLE_NONE] = "none",
#define ROLE(name, word, about) [BUS_ROLE_##name] = (word),
#include "bus/roles.def"
#undef ROLE
};

const char *
bus_role_name(enum bus_role role)
{
    return role_names[role];
}

enum bus_role
bus_role_by_name(struct dyn_slice name)
{
    for (int role = BUS_ROLE_NONE + 1; role < BUS_ROLE_COUNT; role++) {
        if (dyn_slice_is(name, role_names[role])) {
            return (enum bus_role)role;
        }
    }
    return BUS_ROLE_NONE;
}

/* ---- the table of allowed keys ---- */

static int
compare_keys(const void *a, const void *b)
{
    return memcmp(((const struct allowed_key *)a)->key, ((const struct allowed_key *)b)->key, BUS_KEY_TEXT);
}

static const struct allowed_key *
find_key(const struct key_table *table, struct dyn_slice key)
{
    struct allowed_key wanted;
    if (key.len != BUS_KEY_TEXT - 1 || table->n == 0) {
        return NULL;
    }
    memcpy(wanted.key, key.data, key.len);
    wanted.key[key.len] = '\0';
    return bsearch(&wanted, table->keys, table->n, sizeof wanted, compare_keys);
}

static void
add_key(struct key_table *table, const struct bus_cert *cert)
{
    if (table->n == table->cap) {
        table->cap = table->cap > 0 ? 2 * table->cap : 16;
        table->keys = dyn_realloc(table->keys, table->cap * sizeof *table->keys);
    }
    struct allowed_key *slot = &table->keys[table->n++];
    memcpy(slot->key, cert->public_key, sizeof slot->key);
    memcpy(slot->name, cert->name, sizeof slot->name);
    slot->role = cert->role;
}

static void
free_table(struct key_table *table)
{
    free(table->keys);
    *table = (struct key_table){0};
}

static bool
ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && memcmp(text + len - end_len, end, end_len) == 0;
}

/* A folder mounted from a secret store has hidden entries of its own. */
static bool
is_wanted_entry(const char *name)
{
    return name[0] != '.' && !ends_with(name, "_secret");
}

static int
load_allowed_file(const char *path, struct key_table *table, struct dyn_err *err)
{
    struct bus_cert cert;
    if (bus_cert_load(path, &cert, err) != 0) {
        return -1;
    }
    explicit_bzero(cert.secret_key, sizeof cert.secret_key);
    if (cert.role == BUS_ROLE_NONE) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s: says no role: write `role = \"client\"` below metadata",
                           path);
    }
    if (table->n == ALLOWED_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "%s: more than %d keys in the folder", path, ALLOWED_MAX);
    }
    add_key(table, &cert);
    return 0;
}

static int
load_entry(const char *folder, const struct dirent *entry, struct key_table *table, struct dyn_err *err)
{
    char path[PATH_MAX];
    if (!is_wanted_entry(entry->d_name) || entry->d_type == DT_DIR) {
        return 0;
    }
    int len = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (len < 0 || (size_t)len >= sizeof path) {
        return dyn_err_set(err, DYN_E_LIMIT, "%.80s..: too long", folder);
    }
    return load_allowed_file(path, table, err);
}

static int
load_entries(const char *folder, struct key_table *table, struct dyn_err *err)
{
    /* Not opendir(): ThreadSanitizer would not know that the number is a new file's. */
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int result = 0;
    if (dir == NULL) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "%s: %s", folder, strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir); /* a stream of our own: safe in any thread */
        if (entry == NULL) {
            break;
        }
        result = load_entry(folder, entry, table, err);
        if (result != 0) {
            break;
        }
    }
    if (result == 0 && errno != 0) {
        result = dyn_err_set(err, DYN_E_IO, "%s: %s", folder, strerror(errno));
    }
    (void)closedir(dir);
    return result;
}

/* The same key twice with the same role is a rotation half done; with two roles nobody could say which. */
static int
check_twice(const char *folder, const struct key_table *table, struct dyn_err *err)
{
    for (size_t i = 1; i < table->n; i++) {
        const struct allowed_key *a = &table->keys[i - 1];
        const struct allowed_key *b = &table->keys[i];
        if (memcmp(a->key, b->key, BUS_KEY_TEXT) == 0 && a->role != b->role) {
            return dyn_err_set(err, DYN_E_CONFIG, "%s: '%s' and '%s' are one key with two roles, %s and %s",
                               folder, a->name, b->name, bus_role_name(a->role), bus_role_name(b->role));
        }
    }
    return 0;
}

static int
load_table(const char *folder, struct key_table *table, struct dyn_err *err)
{
    if (folder == NULL) {
        return 0;
    }
    if (load_entries(folder, table, err) != 0) {
        return -1;
    }
    if (table->n > 0) {
        qsort(table->keys, table->n, sizeof *table->keys, compare_keys);
    }
    return check_twice(folder, table, err);
}

/* ---- construction ---- */

/* A path or the key itself; every character of a path may stand in Z85, so a file that exists wins. */
static int
load_server(const char *text, char out[BUS_KEY_TEXT], struct dyn_err *err)
{
    struct bus_cert cert;
    if (bus_key_is_valid(dyn_slice_str(text)) && access(text, F_OK) != 0) {
        memcpy(out, text, BUS_KEY_TEXT);
        return 0;
    }
    if (bus_cert_load(text, &cert, err) != 0) {
        return -1;
    }
    explicit_bzero(cert.secret_key, sizeof cert.secret_key);
    memcpy(out, cert.public_key, BUS_KEY_TEXT);
    return cert.role == BUS_ROLE_NONE || cert.role == BUS_ROLE_ROUTER
               ? 0
               : dyn_err_set(err, DYN_E_CONFIG, "%s: is the key of a %s, not of a router", text,
                             bus_role_name(cert.role));
}

static int
load_servers(bus_security_t *security, const struct bus_security_options *options, struct dyn_err *err)
{
    security->servers = dyn_zalloc(options->n_servers * sizeof *security->servers);
    for (size_t i = 0; i < options->n_servers; i++) {
        if (load_server(options->servers[i], security->servers[i], err) != 0) {
            return -1;
        }
        security->n_servers++;
    }
    return 0;
}

static int
load_all(bus_security_t *security, const struct bus_security_options *options, struct dyn_err *err)
{
    if (options->cert == NULL && (options->allowed != NULL || options->n_servers > 0)) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "keys of others are of no use without one's own: set bus.curve.cert");
    }
    if (options->cert != NULL && bus_cert_load_pair(options->cert, &security->own, err) != 0) {
        return -1;
    }
    if (load_servers(security, options, err) != 0) {
        return -1;
    }
    return load_table(security->allowed, &security->table, err);
}

bus_security_t *
bus_security_new(const struct bus_security_options *options, struct dyn_err *err)
{
    bus_security_t *security = dyn_zalloc(sizeof *security);
    security->lock = dyn_zalloc(sizeof(struct key_lock));
    (void)pthread_mutex_init(&security->lock->mutex, NULL);
    security->insecure = options->insecure;
    security->allowed = options->allowed != NULL ? dyn_strdup(options->allowed) : NULL;
    if (load_all(security, options, err) != 0) {
        bus_security_free(&security);
    }
    return security;
}

void
bus_security_free(bus_security_t **security_p)
{
    bus_security_t *security = *security_p;
    *security_p = NULL;
    if (security == NULL) {
        return;
    }
    explicit_bzero(&security->own, sizeof security->own);
    free_table(&security->table);
    free(security->servers);
    free(security->allowed);
    (void)pthread_mutex_destroy(&security->lock->mutex);
    free(security->lock);
    free(security);
}

int
bus_security_reload(bus_security_t *security, struct dyn_err *err)
{
    struct key_table table = {0};
    if (load_table(security->allowed, &table, err) != 0) {
        free_table(&table);
        return -1;
    }
    (void)pthread_mutex_lock(&security->lock->mutex);
    struct key_table old = security->table;
    security->table = table;
    (void)pthread_mutex_unlock(&security->lock->mutex);
    free_table(&old);
    (void)atomic_fetch_add(&security->generation, 1);
    return 0;
}

/* ---- answers ---- */

uint64_t
bus_security_generation(const bus_security_t *security)
{
    return atomic_load(&security->generation);
}

bool
bus_security_has_curve(const bus_security_t *security)
{
    return security->own.public_key[0] != '\0';
}

bool
bus_security_is_insecure(const bus_security_t *security)
{
    return security->insecure;
}

bool
bus_security_knows_routers(const bus_security_t *security)
{
    return security->n_servers > 0;
}

enum bus_role
bus_security_own_role(const bus_security_t *security)
{
    return security->own.role;
}

const char *
bus_security_own_key(const bus_security_t *security)
{
    return security->own.public_key;
}

enum bus_role
bus_security_allows(const bus_security_t *security, struct dyn_slice key, char *name, size_t name_size)
{
    enum bus_role role = BUS_ROLE_NONE;
    if (name != NULL && name_size > 0) {
        name[0] = '\0';
    }
    (void)pthread_mutex_lock(&security->lock->mutex);
    const struct allowed_key *found = find_key(&security->table, key);
    if (found != NULL) {
        role = found->role;
        if (name != NULL) {
            (void)snprintf(name, name_size, "%s", found->name);
        }
    }
    (void)pthread_mutex_unlock(&security->lock->mutex);
    return role;
}

uint64_t
bus_security_refused(const bus_security_t *security)
{
    return atomic_load_explicit(&security->refused, memory_order_relaxed);
}

void
bus_security_count_refused(bus_security_t *security)
{
    (void)atomic_fetch_add_explicit(&security->refused, 1, memory_order_relaxed);
}

int
bus_security_check(const bus_security_t *security, const struct bus_endpoint *endpoint, struct dyn_err *err)
{
    char text[BUS_ENDPOINT_MAX];
    if (bus_security_has_curve(security) || security->insecure || bus_endpoint_is_local(endpoint)) {
        return 0;
    }
    bus_endpoint_text(endpoint, BUS_ENDPOINT_CLIENTS, text);
    return dyn_err_set(
        err, DYN_E_CONFIG,
        "%s is not on this host and the bus has no key: make one with `dynabus keys new` and set "
        "bus.curve.cert, or send everything in the clear with bus.insecure: true",
        text);
}

/* ---- sockets ---- */

/* "dynabus/ROLES", the bits in hexadecimal: how a PUB socket tells the ZAP handler whom it takes. */
static const char domain_prefix[] = "dynabus/";
static const char hex_digits[] = "0123456789abcdef";

void
bus_zap_domain(uint32_t roles, char out[BUS_ZAP_DOMAIN_MAX])
{
    (void)snprintf(out, BUS_ZAP_DOMAIN_MAX, "%s%x", domain_prefix, roles);
}

uint32_t
bus_zap_domain_roles(struct dyn_slice domain)
{
    const size_t prefix = sizeof domain_prefix - 1;
    uint32_t roles = 0;
    if (domain.len <= prefix || domain.len > prefix + 8 || memcmp(domain.data, domain_prefix, prefix) != 0) {
        return 0;
    }
    for (size_t i = prefix; i < domain.len; i++) {
        const char *digit = memchr(hex_digits, domain.data[i], 16);
        if (digit == NULL) {
            return 0;
        }
        roles = roles << 4 | (uint32_t)(digit - hex_digits);
    }
    return roles;
}

static int
refused_option(struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_IO, "cannot secure a socket of the bus: %s", zmq_strerror(zmq_errno()));
}

int
bus_security_publisher(const bus_security_t *security, void *zmq_socket, uint32_t roles, struct dyn_err *err)
{
    const int yes = 1;
    char domain[BUS_ZAP_DOMAIN_MAX];
    if (!bus_security_has_curve(security)) {
        return 0;
    }
    bus_zap_domain(roles, domain);
    if (zmq_setsockopt(zmq_socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) != 0 ||
        zmq_setsockopt(zmq_socket, ZMQ_CURVE_SECRETKEY, security->own.secret_key, BUS_KEY_TEXT) != 0 ||
        zmq_setsockopt(zmq_socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain)) != 0 ||
        zmq_setsockopt(zmq_socket, ZMQ_ZAP_ENFORCE_DOMAIN, &yes, sizeof yes) != 0) {
        return refused_option(err);
    }
    return 0;
}

int
bus_security_server(const bus_security_t *security, void *zmq_socket, struct dyn_err *err)
{
    return bus_security_publisher(security, zmq_socket, (1u << BUS_ROLE_COUNT) - 2, err); /* all but NONE */
}

int
bus_security_client(const bus_security_t *security, void *zmq_socket, unsigned attempt, struct dyn_err *err)
{
    if (!bus_security_has_curve(security)) {
        return 0;
    }
    if (security->n_servers == 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "no key of a router is known: set bus.curve.servers");
    }
    const char *server = security->servers[attempt % security->n_servers];
    if (zmq_setsockopt(zmq_socket, ZMQ_CURVE_SERVERKEY, server, BUS_KEY_TEXT) != 0 ||
        zmq_setsockopt(zmq_socket, ZMQ_CURVE_PUBLICKEY, security->own.public_key, BUS_KEY_TEXT) != 0 ||
        zmq_setsockopt(zmq_socket, ZMQ_CURVE_SECRETKEY, security->own.secret_key, BUS_KEY_TEXT) != 0) {
        return refused_option(err);
    }
    return 0;
}
