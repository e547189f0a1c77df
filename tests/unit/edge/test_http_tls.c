/* One TLS connection on a socket whose kernel buffer is tiny: handshakes and records that do not fit into it
 * go on where they stopped, and every byte arrives once. */
#include "edge/http_tls.h"
#include "tests/unit/providers/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { CHAIN = 60, ANSWER = 300 * 1024 };

struct scene {
    struct certificate certificate;
    char key_path[80];
    char chain_path[80];
    http_tls_t *tls;
    struct http_tls_conn *conn;
    int ours;
    int theirs;
    SSL_CTX *client_context;
    SSL *client;
    bool is_open;
    char plain[4096]; /* what the server has read */
    size_t plain_len;
};

static void
write_files(struct scene *scene)
{
    (void)snprintf(scene->key_path, sizeof scene->key_path, "%s.key", scene->certificate.path);
    (void)snprintf(scene->chain_path, sizeof scene->chain_path, "%s.chain", scene->certificate.path);
    FILE *key = fopen(scene->key_path, "w");
    assert_non_null(key);
    assert_int_equal(PEM_write_PrivateKey(key, scene->certificate.key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(key);
    (void)chmod(scene->key_path, 0600);
    FILE *chain = fopen(scene->chain_path, "w");
    assert_non_null(chain);
    for (int i = 0; i < CHAIN; i++) { /* some 30 KB of handshake */
        assert_int_equal(PEM_write_X509(chain, scene->certificate.x509), 1);
    }
    (void)fclose(chain);
}

static int
open_scene(void **state)
{
    static struct scene scene;
    struct dyn_err err;
    int pair[2];
    memset(&scene, 0, sizeof scene);
    certificate_make(&scene.certificate, "DNS:localhost", 90L * 24 * 3600);
    write_files(&scene);
    scene.tls =
        http_tls_new(&(struct http_tls_options){.cert = scene.chain_path, .key = scene.key_path}, &err);
    assert_non_null(scene.tls);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    scene.ours = pair[0];
    scene.theirs = pair[1];
    assert_int_equal(setsockopt(scene.ours, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)), 0);
    scene.conn = http_tls_accept(scene.tls, scene.ours);
    scene.client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_cert_list(scene.client_context, 1 << 20);
    scene.client = SSL_new(scene.client_context);
    SSL_set_bio(scene.client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(scene.client);
    *state = &scene;
    return 0;
}

static int
close_scene(void **state)
{
    struct scene *scene = *state;
    http_tls_conn_free(&scene->conn);
    http_tls_free(&scene->tls);
    SSL_free(scene->client);
    SSL_CTX_free(scene->client_context);
    (void)close(scene->ours);
    (void)close(scene->theirs);
    (void)unlink(scene->key_path);
    (void)unlink(scene->chain_path);
    certificate_free(&scene->certificate);
    return 0;
}

/* ---- the two directions ---- */

/* What the client has to say; the server gets it as if it had been received. */
static enum http_tls_event
client_to_server(struct scene *scene)
{
    static char wire[64 * 1024];
    struct dyn_slice plain;
    int len = BIO_read(SSL_get_wbio(scene->client), wire, sizeof wire);
    if (len > 0) {
        http_tls_conn_feed(scene->conn, dyn_slice(wire, (size_t)len));
    }
    for (;;) {
        enum http_tls_event event = http_tls_conn_next(scene->conn, &plain);
        if (event == HTTP_TLS_OPENED) {
            scene->is_open = true;
        } else if (event == HTTP_TLS_BYTES) {
            assert_true(scene->plain_len + plain.len <= sizeof scene->plain);
            memcpy(scene->plain + scene->plain_len, plain.data, plain.len);
            scene->plain_len += plain.len;
        } else {
            return event;
        }
    }
}

static size_t
server_to_client(struct scene *scene)
{
    char wire[2000];
    ssize_t len = recv(scene->theirs, wire, sizeof wire, MSG_DONTWAIT);
    if (len > 0) {
        assert_int_equal(BIO_write(SSL_get_rbio(scene->client), wire, (int)len), len);
    }
    return len > 0 ? (size_t)len : 0;
}

/* Returns how often the server had to wait for its client to read. */
static unsigned
shake_hands(struct scene *scene)
{
    unsigned blocked = 0;
    for (int turns = 0; !SSL_is_init_finished(scene->client) || !scene->is_open; turns++) {
        assert_true(turns < 10000);
        (void)SSL_do_handshake(scene->client);
        enum http_tls_event event = client_to_server(scene);
        assert_true(event == HTTP_TLS_MORE || event == HTTP_TLS_BLOCKED);
        blocked += event == HTTP_TLS_BLOCKED;
        (void)server_to_client(scene);
    }
    return blocked;
}

static size_t
client_reads(struct scene *scene, char *out, size_t size)
{
    size_t len = 0;
    int n;
    while (len < size && (n = SSL_read(scene->client, out + len, (int)(size - len))) > 0) {
        len += (size_t)n;
    }
    return len;
}

/* ---- tests ---- */

static void
a_handshake_goes_on_when_the_kernel_takes_more(void **state)
{
    struct scene *scene = *state;
    assert_true(shake_hands(scene) > 0);
    assert_int_equal(SSL_write(scene->client, "hello", 5), 5);
    assert_int_equal(client_to_server(scene), HTTP_TLS_MORE);
    assert_int_equal(scene->plain_len, 5);
    assert_memory_equal(scene->plain, "hello", 5);
}

/* What follows the end of a handshake in one piece, or comes while the server can't write, is not lost. */
static void
what_comes_while_it_is_blocked_is_kept(void **state)
{
    struct scene *scene = *state;
    static char wire[64 * 1024];
    (void)SSL_do_handshake(scene->client);
    int len = BIO_read(SSL_get_wbio(scene->client), wire, sizeof wire);
    for (int i = 0; i < len; i++) { /* one at a time, from memory that is used again at once */
        char byte = wire[i];
        struct dyn_slice plain;
        http_tls_conn_feed(scene->conn, dyn_slice(&byte, 1));
        (void)http_tls_conn_next(scene->conn, &plain);
    }
    char junk[] = {0x14, 0x03, 0x03, 0x00, 0x01, 0x01}; /* change_cipher_spec, which 1.3 skips */
    struct dyn_slice plain;
    http_tls_conn_feed(scene->conn, dyn_slice(junk, sizeof junk));
    assert_int_equal(http_tls_conn_next(scene->conn, &plain), HTTP_TLS_BLOCKED);
    memset(junk, 0xff, sizeof junk);
    (void)shake_hands(scene);
    assert_int_equal(SSL_write(scene->client, "hello", 5), 5);
    assert_int_equal(client_to_server(scene), HTTP_TLS_MORE);
    assert_memory_equal(scene->plain, "hello", 5);
}

/* The queue of an answer: it begins where the last call stopped, and grows while it waits. */
static size_t
make_pieces(char *answer, size_t from, size_t to, struct iovec pieces[16])
{
    static const size_t lengths[] = {1, 300, 17000, 5, 16384, 700, 40000, 3};
    size_t n = 0;
    size_t at = 0;
    for (size_t i = 0; at < to && n < 16; i++) { /* cut at the same places however much is gone */
        size_t end = at + lengths[i % DYN_ARRAY_LEN(lengths)];
        end = end < to ? end : to;
        if (end > from) {
            size_t start = at > from ? at : from;
            pieces[n++] = (struct iovec){answer + start, end - start};
        }
        at = end;
    }
    return n;
}

static void
every_byte_arrives_once(void **state)
{
    struct scene *scene = *state;
    char *answer = dyn_alloc(ANSWER);
    char *read = dyn_alloc(ANSWER + 1);
    size_t gone = 0;
    size_t arrived = 0;
    size_t queued = 1000;
    unsigned waited = 0;
    for (size_t i = 0; i < ANSWER; i++) {
        answer[i] = (char)(i * 7 + i / 251);
    }
    (void)shake_hands(scene);
    while (arrived < ANSWER) {
        struct iovec pieces[16];
        size_t n = make_pieces(answer, gone, queued, pieces);
        ssize_t sent = n > 0 ? http_tls_conn_send(scene->conn, pieces, (int)n) : 0;
        assert_true(sent >= 0);
        gone += (size_t)sent;
        assert_true(gone <= queued);
        waited += n > 0 && sent == 0;
        queued = queued + 3001 < ANSWER ? queued + 3001 : ANSWER;
        (void)server_to_client(scene);
        arrived += client_reads(scene, read + arrived, ANSWER + 1 - arrived);
        assert_true(arrived <= gone + 16384); /* of a record, what has left is counted when all of it has */
    }
    assert_true(waited > 0);
    assert_int_equal(arrived, ANSWER);
    assert_memory_equal(read, answer, ANSWER);
    free(answer);
    free(read);
}

static void
good_bye_is_said_once_and_understood(void **state)
{
    struct scene *scene = *state;
    char bytes[16];
    (void)shake_hands(scene);
    while (server_to_client(scene) > 0) {
    }
    http_tls_conn_end(scene->conn);
    http_tls_conn_end(scene->conn);
    while (server_to_client(scene) > 0) {
    }
    int n = SSL_read(scene->client, bytes, sizeof bytes);
    assert_int_equal(SSL_get_error(scene->client, n), SSL_ERROR_ZERO_RETURN);
    (void)SSL_shutdown(scene->client);
    assert_int_equal(client_to_server(scene), HTTP_TLS_END);
}

static void
what_is_cut_off_has_no_good_bye(void **state)
{
    struct scene *scene = *state;
    (void)shake_hands(scene);
    while (server_to_client(scene) > 0) {
    }
    http_tls_conn_cut(scene->conn);
    http_tls_conn_end(scene->conn);
    assert_int_equal(server_to_client(scene), 0);
}

/* The client's socket is closed: no signal, an error. */
static void
a_client_that_is_gone_is_an_error(void **state)
{
    struct scene *scene = *state;
    char text[] = "hello";
    (void)shake_hands(scene);
    while (server_to_client(scene) > 0) {
    }
    (void)close(scene->theirs);
    scene->theirs = -1;
    struct iovec piece = {text, 5};
    assert_int_equal(http_tls_conn_send(scene->conn, &piece, 1), -1);
    assert_int_equal(http_tls_conn_send(scene->conn, &piece, 1), -1);
    assert_int_equal(client_to_server(scene), HTTP_TLS_END);
}

static void
days_are_counted_and_files_watched(void **state)
{
    struct scene *scene = *state;
    struct dyn_err err;
    assert_in_range(http_tls_days_left(scene->tls), 89, 90);
    assert_int_equal(http_tls_reload(scene->tls, &err), 0);
    FILE *key = fopen(scene->key_path, "w");
    assert_non_null(key);
    (void)fclose(key);
    http_tls_tick(scene->tls); /* the empty file changes nothing */
    assert_int_equal(http_tls_reload(scene->tls, &err), -1);
    assert_non_null(strstr(err.text, "no private key"));
    (void)shake_hands(scene);
}

int
main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        WITH_SCENE(a_handshake_goes_on_when_the_kernel_takes_more),
        WITH_SCENE(what_comes_while_it_is_blocked_is_kept),
        WITH_SCENE(every_byte_arrives_once),
        WITH_SCENE(good_bye_is_said_once_and_understood),
        WITH_SCENE(what_is_cut_off_has_no_good_bye),
        WITH_SCENE(a_client_that_is_gone_is_an_error),
        WITH_SCENE(days_are_counted_and_files_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
