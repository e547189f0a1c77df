/* Keys of the edge. */
#include "edge/edge_config.h"

#include "edge/proxies.h"

/* Numbers that have a reason: 10 MiB is Ferro's limit; 32 KiB of head is what browsers and proxies stay
 * under, 64 KiB is below http-parser's own limit of 80; 512 MiB is fifty of the largest bodies at a time;
 * proxies and browsers close idle connections after 60 s, so 75 s leaves the closing to them; proxies give
 * up on a silent answer after 30 s or 60 s. */
#define REQUEST_BYTES_DEFAULT "10MiB"
#define REQUEST_BYTES         (10u * 1024 * 1024)
#define REQUEST_BYTES_MAX     (1024.0 * 1024 * 1024)
#define BODY_MEMORY_DEFAULT   "512MiB"
#define BODY_MEMORY_MIN       (1024.0 * 1024)
#define BODY_MEMORY_MAX       (1024.0 * 1024 * 1024 * 1024)
#define HEADER_BYTES_DEFAULT  "32KiB"
#define HEADER_BYTES_MIN      1024
#define HEADER_BYTES_MAX      (64.0 * 1024)
#define CONNECTIONS_DEFAULT   "10000"
#define CONNECTIONS_MAX       60000
#define KEEPALIVE_DEFAULT     "15s"
#define TIMEOUT_MIN_MS        10
#define TIMEOUT_MAX_MS        (24.0 * 3600 * 1000)

#define TIMEOUT(key, field, value, text)                                                                     \
    {                                                                                                        \
        .name = (key), .type = CONFIG_DURATION, .offset = offsetof(struct edge_timeouts, field),             \
        .default_text = (value), .min = TIMEOUT_MIN_MS, .max = TIMEOUT_MAX_MS, .help = (text)                \
    }

static const struct config_key timeout_keys[] = {
    TIMEOUT("head", head_ms, "10s", "From the first byte of a request to the end of its headers; then 408."),
    TIMEOUT("body", body_ms, "30s", "Between two pieces of a request body; then 408."),
    TIMEOUT("body_total", body_total_ms, "5m", "For a whole request body, however steadily it trickles."),
    TIMEOUT("idle", idle_ms, "75s", "How long a connection may stay open without a request."),
    TIMEOUT("write", write_ms, "60s", "How long a client may take nothing while an answer waits for it."),
    {.name = NULL},
};

static const struct config_section timeout_section = {
    .keys = timeout_keys,
    .size = sizeof(struct edge_timeouts),
    .mark_offset = SIZE_MAX,
};

static const char *const tls_versions[] = {
    [EDGE_TLS_1_2] = "1.2",
    [EDGE_TLS_1_3] = "1.3",
    NULL,
};

static const struct config_key tls_keys[] = {
    {.name = "cert",
     .type = CONFIG_STRING,
     .offset = offsetof(struct edge_tls_config, cert),
     .help = "File with the certificate in PEM, and behind it those that lead to its root. Files are looked "
             "at every "
             "few seconds and on SIGHUP: a new certificate is used for new connections, open ones go on."},
    {.name = "key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct edge_tls_config, key),
     .help = "File with its private key in PEM, without a password."},
    {.name = "client_ca",
     .type = CONFIG_STRING,
     .offset = offsetof(struct edge_tls_config, client_ca),
     .help = "File with certificates in PEM: clients need one that was signed by one of these. Without it "
             "none is "
             "asked for."},
    {.name = "min_version",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct edge_tls_config, min_version),
     .names = tls_versions,
     .default_text = "1.2",
     .help = "The oldest version of TLS that is spoken."},
    {.name = NULL},
};

static const struct config_section tls_section = {
    .keys = tls_keys,
    .size = sizeof(struct edge_tls_config),
    .mark_offset = offsetof(struct edge_tls_config, mark),
};

static const struct config_key edge_keys[] = {
    {.name = "listen",
     .type = CONFIG_STRING,
     .offset = offsetof(struct edge_config, listen),
     .default_text = ":8080",
     .set_offset = offsetof(struct edge_config, listen_is_set),
     .help = "Where HTTP is served: HOST:PORT, [IPv6]:PORT, or :PORT for all addresses of both IP versions. "
             "`--listen` and, where this key is absent, the variable PORT come before it."},
    {.name = "max_request_bytes",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct edge_config, max_request_bytes),
     .default_text = REQUEST_BYTES_DEFAULT,
     .min = 0,
     .max = REQUEST_BYTES_MAX,
     .help = "The largest request body; a longer one is answered 413. `0`: the default."},
    {.name = "max_body_memory",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct edge_config, max_body_memory),
     .default_text = BODY_MEMORY_DEFAULT,
     .min = BODY_MEMORY_MIN,
     .max = BODY_MEMORY_MAX,
     .help =
         "How many bytes the request bodies of this process may take up together, each from its arrival to "
         "the end of its answer; a request beyond it is answered 429. The first 16 KiB of a body do not "
         "count."},
    {.name = "max_header_bytes",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct edge_config, max_header_bytes),
     .default_text = HEADER_BYTES_DEFAULT,
     .min = HEADER_BYTES_MIN,
     .max = HEADER_BYTES_MAX,
     .help = "The largest request line with headers; a longer one is answered 431."},
    {.name = "max_connections",
     .type = CONFIG_INT,
     .offset = offsetof(struct edge_config, max_connections),
     .default_text = CONNECTIONS_DEFAULT,
     .min = 1,
     .max = CONNECTIONS_MAX,
     .help = "How many clients may be connected at a time; further ones are turned away with 503."},
    {.name = "sse_keepalive",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct edge_config, sse_keepalive_ms),
     .default_text = KEEPALIVE_DEFAULT,
     .min = TIMEOUT_MIN_MS,
     .max = TIMEOUT_MAX_MS,
     .help = "After so much silence a stream's client gets a comment, also before the first token, so that "
             "proxies in between keep the connection."},
    {.name = "client_timeouts",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct edge_config, client_timeouts),
     .section = &timeout_section,
     .help = "How long a client may take."},
    {.name = "tls",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct edge_config, tls),
     .section = &tls_section,
     .help = "HTTPS in place of HTTP."},
    {.name = "cors_origins",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct edge_config, cors_origins),
     .help = "Origins of web pages that may use the gateway from a browser, letter for letter "
             "(https://chat.example). None by default; without this key the variable CORS_ORIGINS is read, a "
             "list with commas."},
    {.name = "trusted_proxies",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct edge_config, trusted_proxies),
     .set_offset = offsetof(struct edge_config, trusted_proxies_is_set),
     .help =
         "Networks of proxies (10.0.0.0/8, ::1/128, an address) whose `X-Forwarded-For`, else `X-Real-IP`, "
         "says "
         "who the client is: for limits of addresses, wrong keys, logs. `[]`: nobody. Without this key the "
         "variable TRUSTED_PROXIES is read, a list with commas, else it is loopback."},
    {.name = NULL},
};

static void
check(void *values, struct config_problems *problems)
{
    struct edge_config *config = values;
    if (config->max_request_bytes == 0) { /* as an unwritten value in Go */
        config->max_request_bytes = REQUEST_BYTES;
    }
    for (size_t i = 0; i < config->trusted_proxies.n; i++) {
        struct edge_network network;
        if (!edge_network_read(config->trusted_proxies.items[i], &network)) {
            config_problem_add(problems, config_mark_of(problems, &config->trusted_proxies), false,
                               "'trusted_proxies' has networks: 10.0.0.0/8, ::1/128 or an address");
        }
    }
    const struct edge_tls_config *tls = &config->tls;
    bool has_cert = tls->cert.len > 0;
    bool has_key = tls->key.len > 0;
    if (has_cert != has_key) {
        config_problem_add(problems, tls->mark, false, "'tls' needs both 'cert' and 'key'");
    } else if (!has_cert && tls->client_ca.len > 0) {
        config_problem_add(problems, tls->mark, false,
                           "'tls.client_ca' is of no use without 'cert' and 'key'");
    }
}

const struct config_part edge_config_part = {
    .folder = "edge",
    .section = {.keys = edge_keys, .size = sizeof(struct edge_config), .mark_offset = SIZE_MAX},
    .check = check,
};
