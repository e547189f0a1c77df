/* Origins: everything about where calls go that can be prepared once, as options of libcurl's handles. */
#include "actors/providers/http_wire.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEPALIVE_PROBE_S 30L /* finds peers that are gone without a word */
#define EXPECT_FROM_BYTES                                                                                    \
    (1024 * 1024) /* from here libcurl would ask with Expect: 100-continue, and wait                         \
                   */

static void
set_network_options(const http_origin_t *origin, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_PROBE_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_PROBE_S);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)HTTP_IDLE_S);
    /* "*": libcurl neither looks into the environment nor compares names for each request. */
    const char *no_proxy = origin->no_proxy != NULL ? origin->no_proxy : "";
    curl_easy_setopt(easy, CURLOPT_PROXY, origin->proxy != NULL ? origin->proxy : "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, origin->proxy != NULL ? no_proxy : "*");
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (origin->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, origin->ca_file);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, origin->ca_file);
    }
}

void
http_origin_set_options(const http_origin_t *origin, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_CURLU, origin->url);
    curl_easy_setopt(easy, CURLOPT_SHARE, origin->client->share);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, origin->headers);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    set_network_options(origin, easy);
}

/* Nodes and texts in one piece of memory; the last node leads on to the origin's headers. The struct is
 * part of libcurl's interface, and it only reads lists. */
struct curl_slist *
http_origin_own_headers(const http_origin_t *origin, const struct http_call_request *request)
{
    static const struct http_client_header no_expect = {DYN_SLICE_INIT("Expect"), DYN_SLICE_INIT("")};
    bool is_large = request->body != NULL && request->body->len >= EXPECT_FROM_BYTES;
    size_t n = request->n_headers + (is_large ? 1 : 0);
    size_t bytes = n * sizeof(struct curl_slist);
    for (size_t i = 0; i < n; i++) {
        const struct http_client_header *header = i < request->n_headers ? &request->headers[i] : &no_expect;
        bytes += header->name.len + header->value.len + sizeof ": ";
    }
    if (n == 0) {
        return NULL;
    }
    struct curl_slist *nodes = dyn_alloc(bytes);
    char *text = (char *)(nodes + n);
    for (size_t i = 0; i < n; i++) {
        const struct http_client_header *header = i < request->n_headers ? &request->headers[i] : &no_expect;
        int len = snprintf(text, header->name.len + header->value.len + sizeof ": ", "%.*s:%s%.*s",
                           (int)header->name.len, header->name.data, header->value.len > 0 ? " " : "",
                           (int)header->value.len, header->value.data);
        nodes[i] = (struct curl_slist){text, i + 1 < n ? &nodes[i + 1] : origin->headers};
        text += len + 1;
    }
    return nodes;
}

static char *
copy_or_null(const char *text)
{
    return text != NULL ? dyn_strdup(text) : NULL;
}

/* Host and port of a URL that its owner has already judged. */
static char *
authority_of(const char *url)
{
    const char *begin = strstr(url, "://");
    begin = begin != NULL ? begin + 3 : url;
    const char *end = begin + strcspn(begin, "/");
    const char *at = memrchr(begin, '@', (size_t)(end - begin));
    begin = at != NULL ? at + 1 : begin;
    return dyn_strndup(begin, (size_t)(end - begin));
}

/* "127.0.0.1:80", "[::1]:80" */
static bool
is_address(const char *authority)
{
    char host[64];
    struct in_addr address;
    size_t len = strcspn(authority, ":");
    if (authority[0] == '[') {
        return true;
    }
    if (len >= sizeof host) {
        return false;
    }
    memcpy(host, authority, len);
    host[len] = '\0';
    return inet_pton(AF_INET, host, &address) == 1;
}

static void
add_header(http_origin_t *origin, struct dyn_slice name, struct dyn_slice value)
{
    size_t size = name.len + value.len + sizeof ": ";
    char *line = dyn_alloc(size);
    (void)snprintf(line, size, "%.*s: %.*s", (int)name.len, name.data, (int)value.len, value.data);
    struct curl_slist *grown = curl_slist_append(origin->headers, line);
    DYN_ASSERT(grown != NULL); /* only without memory */
    origin->headers = grown;
    free(line);
}

static void
shed(struct bus_keeper *keeper)
{
    http_origin_t *origin = DYN_CONTAINER_OF(keeper, http_origin_t, spare_keeper);
    for (struct dyn_list *link; (link = dyn_list_pop(&origin->spare)) != NULL;) {
        http_call_destroy(DYN_CONTAINER_OF(link, http_call_t, link));
    }
    origin->n_spare = 0;
}

http_origin_t *
http_origin_new(http_client_t *client, const struct http_origin_options *options, struct dyn_err *err)
{
    http_origin_t *origin = dyn_zalloc(sizeof *origin);
    origin->client = http_client_ref(client);
    origin->url = curl_url();
    DYN_ASSERT(origin->url != NULL); /* only without memory */
    origin->authority = authority_of(options->url);
    origin->is_address = options->proxy == NULL && is_address(origin->authority);
    origin->ca_file = copy_or_null(options->ca_file);
    origin->proxy = copy_or_null(options->proxy);
    origin->no_proxy = copy_or_null(options->no_proxy);
    dyn_list_init(&origin->calls);
    dyn_list_init(&origin->spare);
    bus_keeper_init(&origin->spare_keeper, shed);
    bus_keeper_add(origin->client->loop, &origin->spare_keeper);
    dyn_list_init(&origin->waiting);
    for (size_t i = 0; i < options->n_headers; i++) {
        add_header(origin, options->headers[i].name, options->headers[i].value);
    }
    add_header(origin, DYN_SLICE("Accept-Encoding"), DYN_SLICE("identity"));
    CURLUcode code = curl_url_set(origin->url, CURLUPART_URL, options->url, CURLU_PATH_AS_IS);
    if (code != CURLUE_OK) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "%s: %s", origin->authority, curl_url_strerror(code));
        http_origin_free(&origin);
        return NULL;
    }
    http_origin_prepare_wires(origin, options);
    return origin;
}

void
http_origin_free(http_origin_t **origin_p)
{
    http_origin_t *origin = *origin_p;
    *origin_p = NULL;
    if (origin == NULL) {
        return;
    }
    while (!dyn_list_is_empty(&origin->calls)) {
        http_call_t *call = DYN_CONTAINER_OF(origin->calls.next, http_call_t, link);
        /* The resolver's thread is left to itself: it frees what it holds when it comes back. */
        curl_easy_setopt(call->easy, CURLOPT_QUICK_EXIT, 1L);
        http_call_recycle(call);
    }
    shed(&origin->spare_keeper);
    bus_keeper_remove(&origin->spare_keeper);
    curl_easy_cleanup(origin->spare_easy);
    http_pool_unref(&origin->pool);
    dyn_buf_fini(&origin->head_front);
    dyn_buf_fini(&origin->head_back);
    curl_slist_free_all(origin->headers);
    curl_url_cleanup(origin->url);
    free(origin->authority);
    free(origin->ca_file);
    free(origin->proxy);
    free(origin->no_proxy);
    http_client_unref(&origin->client);
    free(origin);
}
