#include "actors/providers/fetch.h"

#include "actors/providers/http_curl.h"
#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { LOOK_MS = 100 }; /* how often *stop is looked at */

/* One transfer, with what it is for. */
struct transfer {
    struct fetch *fetch;
    CURL *easy;
    struct curl_slist *headers;
    bool is_too_large;
    char why[CURL_ERROR_SIZE];
};

struct fetching {
    CURLM *multi;
    struct transfer *transfers;
    void (*done)(void *self, struct fetch *fetch);
    void *self;
    size_t running;
};

static size_t
take_body(char *data, size_t size, size_t n, void *arg)
{
    (void)size; /* 1, says libcurl */
    struct transfer *transfer = arg;
    struct fetch *fetch = transfer->fetch;
    if (fetch->body.len + n > fetch->bytes_max) {
        transfer->is_too_large = true;
        return 0;
    }
    dyn_buf_add(&fetch->body, data, n);
    return n;
}

/* The last answer's: one that redirects comes before it. */
static size_t
take_header(char *data, size_t size, size_t n, void *arg)
{
    static const char name[] = "etag:";
    (void)size;
    struct fetch *fetch = ((struct transfer *)arg)->fetch;
    if (n > 5 && memcmp(data, "HTTP/", 5) == 0) {
        fetch->got_etag[0] = '\0';
        return n;
    }
    if (n < sizeof name || strncasecmp(data, name, sizeof name - 1) != 0) {
        return n;
    }
    size_t begin = sizeof name - 1;
    size_t end = n;
    while (begin < end && (data[begin] == ' ' || data[begin] == '\t')) {
        begin++;
    }
    while (end > begin && (unsigned char)data[end - 1] <= ' ') {
        end--;
    }
    if (end - begin < sizeof fetch->got_etag) {
        memcpy(fetch->got_etag, data + begin, end - begin);
        fetch->got_etag[end - begin] = '\0';
    }
    return n;
}

static void
add_header(struct transfer *transfer, const char *line)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);
    transfer->headers = longer != NULL ? longer : transfer->headers;
}

static void
add_headers(struct transfer *transfer)
{
    const struct fetch *fetch = transfer->fetch;
    for (size_t i = 0; fetch->headers != NULL && fetch->headers[i] != NULL; i++) {
        add_header(transfer, fetch->headers[i]);
    }
    if (fetch->etag != NULL && fetch->etag[0] != '\0') {
        char line[FETCH_ETAG_MAX + 32];
        (void)snprintf(line, sizeof line, "If-None-Match: %s", fetch->etag);
        add_header(transfer, line);
    }
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

/* "*": libcurl does not look into the environment. */
static void
set_way(CURL *easy, const struct fetch *fetch)
{
    const char *no_proxy = fetch->no_proxy != NULL ? fetch->no_proxy : "";
    (void)curl_easy_setopt(easy, CURLOPT_PROXY, fetch->proxy != NULL ? fetch->proxy : "");
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, fetch->proxy != NULL ? no_proxy : "*");
    (void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static void
set_up(struct transfer *transfer)
{
    const struct fetch *fetch = transfer->fetch;
    CURL *easy = transfer->easy;
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_URL, fetch->url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    /* What began where nobody can change it ends there as well. */
    bool is_https = provider_url_is_https(dyn_slice_str(fetch->url));
    (void)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, fetch->follows ? 1L : 0L);
    (void)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)FETCH_REDIRECTS_MAX);
    (void)curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOBODY, fetch->head_only ? 1L : 0L);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)fetch->timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "dynabus");
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->why);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    if (fetch->ca_file != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, fetch->ca_file);
        (void)curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, fetch->ca_file);
    }
    set_way(easy, fetch);
    add_headers(transfer);
}

static int
begin(struct fetching *fetching, struct transfer *transfer)
{
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL) {
        return -1;
    }
    set_up(transfer);
    if (curl_multi_add_handle(fetching->multi, transfer->easy) != CURLM_OK) {
        return -1;
    }
    fetching->running++;
    return 0;
}

static void
let_go(struct fetching *fetching, struct transfer *transfer)
{
    if (transfer->easy != NULL) {
        (void)curl_multi_remove_handle(fetching->multi, transfer->easy);
        curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
    curl_slist_free_all(transfer->headers);
    transfer->headers = NULL;
}

static void
finish(struct fetching *fetching, struct transfer *transfer, CURLcode code)
{
    struct fetch *fetch = transfer->fetch;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &fetch->status);
    if (transfer->is_too_large) {
        (void)snprintf(fetch->error, sizeof fetch->error, "the answer is larger than %zu bytes",
                       fetch->bytes_max);
    } else if (code != CURLE_OK) {
        const char *why = transfer->why[0] != '\0' ? transfer->why : curl_easy_strerror(code);
        (void)snprintf(fetch->error, sizeof fetch->error, "%.*s", (int)sizeof fetch->error - 1, why);
    }
    let_go(fetching, transfer);
    fetching->running--;
    if (fetching->done != NULL) {
        fetching->done(fetching->self, fetch);
    }
}

static void
collect(struct fetching *fetching)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(fetching->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE) {
            CURLcode code = message->data.result; /* the message dies with its handle */
            char *transfer;
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
            finish(fetching, (struct transfer *)(void *)transfer, code);
        }
    }
}

static int
run(struct fetching *fetching, size_t n, unsigned at_once, const atomic_bool *stop)
{
    size_t next = 0;
    while (next < n || fetching->running > 0) {
        if (stop != NULL && atomic_load(stop)) {
            return 0;
        }
        for (; next < n && fetching->running < at_once; next++) {
            if (begin(fetching, &fetching->transfers[next]) != 0) {
                return -1;
            }
        }
        int running;
        if (curl_multi_perform(fetching->multi, &running) != CURLM_OK ||
            curl_multi_poll(fetching->multi, NULL, 0, LOOK_MS, NULL) != CURLM_OK) {
            return -1;
        }
        collect(fetching);
    }
    return 0;
}

static char *
copy_or_null(struct dyn_slice text)
{
    return text.len > 0 ? dyn_strndup(text.data, text.len) : NULL;
}

struct fetch_way
fetch_way_to(const char *url, struct dyn_slice proxy, struct dyn_slice no_proxy)
{
    return (struct fetch_way){copy_or_null(provider_proxy_for(dyn_slice_str(url), proxy, NULL)),
                              copy_or_null(provider_no_proxy_for(no_proxy, NULL))};
}

void
fetch_way_fini(struct fetch_way *way)
{
    free(way->proxy);
    free(way->no_proxy);
}

int
fetch_all(struct fetch *fetches, size_t n, unsigned at_once, void (*done)(void *self, struct fetch *fetch),
          void *self, const atomic_bool *stop, struct dyn_err *err)
{
    struct fetching fetching = {.done = done, .self = self};
    if (http_curl_init() == 0) {
        fetching.multi = curl_multi_init();
    }
    if (fetching.multi == NULL) {
        return dyn_err_set(err, DYN_E_IO, "libcurl cannot be used");
    }
    fetching.transfers = dyn_zalloc((n + 1) * sizeof *fetching.transfers);
    for (size_t i = 0; i < n; i++) {
        fetches[i].status = 0;
        fetches[i].got_etag[0] = fetches[i].error[0] = '\0';
        fetching.transfers[i].fetch = &fetches[i];
    }
    int rc = run(&fetching, n, at_once > 0 ? at_once : 1, stop);
    for (size_t i = 0; i < n; i++) {
        let_go(&fetching, &fetching.transfers[i]);
    }
    (void)curl_multi_cleanup(fetching.multi);
    free(fetching.transfers);
    return rc == 0 ? 0 : dyn_err_set(err, DYN_E_IO, "libcurl gave up");
}
