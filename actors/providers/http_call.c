/* One call: its way into libcurl and out of it, its time-outs, and what libcurl tells about it. */
#include "actors/providers/http_wire.h"

#include <stdlib.h>

#define BUFFER_STREAM 2048L  /* libcurl's receive buffer, per call: events are small, streams are many */
#define BUFFER_PLAIN  32768L /* one receive for most plain answers; held for the answer only */

/* ---- time ---- */

static void
set_timer(http_call_t *call)
{
    bus_loop_t *loop = call->origin->client->loop;
    uint64_t until = call->phase_until_us;
    if (call->deadline_us != 0 && (until == 0 || call->deadline_us < until)) {
        until = call->deadline_us;
    }
    if (until == 0) {
        bus_timer_disarm(&call->timer);
        return;
    }
    uint64_t now = bus_loop_now_us(loop);
    bus_timer_arm(loop, &call->timer, until > now ? (until - now + 999) / 1000 : 0);
}

static void
enter_phase(http_call_t *call, enum call_phase phase, uint32_t limit_ms)
{
    uint64_t now = bus_loop_now_us(call->origin->client->loop);
    call->phase = phase;
    call->phase_until_us = limit_ms == 0 ? 0 : now + (uint64_t)limit_ms * 1000;
    set_timer(call);
}

static void
time_is_up(struct bus_timer *timer)
{
    static const enum http_call_end ends[] = {
        [CALL_CONNECTING] = HTTP_CALL_CONNECT_TIMEOUT,
        [CALL_WAITING] = HTTP_CALL_FIRST_BYTE_TIMEOUT,
        [CALL_ANSWERING] = HTTP_CALL_IDLE_TIMEOUT,
    };
    http_call_t *call = DYN_CONTAINER_OF(timer, http_call_t, timer);
    uint64_t now = bus_loop_now_us(call->origin->client->loop);
    if (call->deadline_us != 0 && now >= call->deadline_us) {
        call->timed_out = HTTP_CALL_DEADLINE;
    } else if (call->phase_until_us != 0 && now >= call->phase_until_us) {
        call->timed_out = ends[call->phase];
    } else {
        set_timer(call);
        return;
    }
    call->is_cancelled |= call->is_lingering;
    http_client_chore(call);
}

/* ---- what libcurl tells ---- */

/* Bytes of the answer are here; once for all of one receive. */
static void
touch(http_call_t *call)
{
    if (!dyn_list_is_linked(&call->touch)) {
        dyn_list_append(&call->origin->client->touched, &call->touch);
        enter_phase(call, CALL_ANSWERING, call->wants_pause ? 0 : call->idle_ms);
    }
}

void
http_call_got_bytes(http_call_t *call)
{
    if (!call->is_lingering) { /* its time is for all that is left */
        enter_phase(call, CALL_ANSWERING, call->wants_pause ? 0 : call->idle_ms);
    }
}

bool
http_call_sending(http_call_t *call)
{
    call->sent++;
    enter_phase(call, CALL_WAITING, call->first_byte_ms);
    if (call->ops != NULL && call->ops->sending != NULL) {
        call->ops->sending(call->self);
    }
    return call->ops != NULL;
}

/* The connection is there and the request about to be sent. */
static int
about_to_send(void *call_, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)peer_ip;
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    http_call_t *call = call_;
    http_call_resolved(call, false);
    if (call->ops == NULL) {
        return CURL_PREREQFUNC_ABORT;
    }
    if (call->origin->pool == NULL) { /* else the connection is all that is wanted */
        http_client_keep_socket(call);
        (void)http_call_sending(call);
    }
    return CURL_PREREQFUNC_OK;
}

static struct dyn_slice
trimmed(const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t')) {
        begin++;
    }
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n')) {
        end--;
    }
    return dyn_slice(begin, (size_t)(end - begin));
}

static void
status_line(http_call_t *call, struct dyn_slice line)
{
    const char *end = line.data + line.len;
    const char *space = memchr(line.data, ' ', line.len);
    const char *at = space != NULL ? space + 1 : end;
    call->head = (struct http_call_head){.content_length = UINT64_MAX};
    for (; at < end && *at >= '0' && *at <= '9' && call->head.status < 1000; at++) {
        call->head.status = call->head.status * 10 + (unsigned)(*at - '0');
    }
}

static void
note_framing(struct http_call_head *head, struct dyn_slice name, struct dyn_slice value)
{
    if (dyn_slice_ieq(name, DYN_SLICE("content-length"))) {
        uint64_t length = 0;
        for (size_t i = 0; i < value.len && i < 18 && value.data[i] >= '0' && value.data[i] <= '9'; i++) {
            length = length * 10 + (uint64_t)(value.data[i] - '0');
        }
        head->content_length = length;
    } else if (dyn_slice_ieq(name, DYN_SLICE("transfer-encoding"))) {
        head->is_chunked = true;
    }
}

/* A stream may last for minutes: its request is not kept in memory for that long. */
static void
release_body(http_call_t *call)
{
    curl_off_t uploaded = 0;
    if (call->body != NULL && curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded) == CURLE_OK &&
        (uint64_t)uploaded >= call->body->len) {
        dyn_block_unref(&call->body);
    }
}

static void
end_of_head(http_call_t *call)
{
    call->head_is_done = call->head.status >= 200;
    if (call->head_is_done) {
        release_body(call);
        call->ops->head(call->self, &call->head);
    }
}

/* One line of a head, or of a trailer. */
static size_t
on_header(char *data, size_t size, size_t n, void *call_)
{
    http_call_t *call = call_;
    size_t len = size * n;
    call->head_bytes += (uint32_t)len;
    if (call->head_bytes > HTTP_HEAD_BYTES_MAX) {
        return 0;
    }
    if (call->ops == NULL || call->head_is_done) {
        return len;
    }
    touch(call);
    struct dyn_slice line = trimmed(data, data + len);
    const char *colon = memchr(line.data, ':', line.len);
    bool goes_on = line.data != data; /* it begins with a space: more of the line before */
    if (line.len == 0) {
        end_of_head(call);
    } else if (line.len > 5 && memcmp(line.data, "HTTP/", 5) == 0) {
        status_line(call, line);
    } else if (call->head.status >= 200 && colon != NULL && !goes_on) {
        struct dyn_slice name = trimmed(line.data, colon);
        struct dyn_slice value = trimmed(colon + 1, line.data + line.len);
        note_framing(&call->head, name, value);
        call->ops->header(call->self, name, value);
    }
    return len;
}

static size_t
on_body(char *data, size_t size, size_t n, void *call_)
{
    http_call_t *call = call_;
    size_t len = size * n;
    if (call->ops != NULL) {
        touch(call);
        call->ops->data(call->self, dyn_slice(data, len));
    } else if (call->is_lingering) {
        call->linger_bytes += (uint32_t)len;
        if (call->linger_bytes > HTTP_CALL_LINGER_BYTES) {
            return 0;
        }
    }
    return len;
}

/* ---- names ---- */

void
http_call_resolved(http_call_t *call, bool found)
{
    http_origin_t *origin = call->origin;
    if (!call->is_resolving) {
        return;
    }
    call->is_resolving = false;
    origin->n_resolving--;
    if (found) {
        uint64_t now = bus_loop_now_us(origin->client->loop);
        origin->name_fresh_until_us = now + (uint64_t)HTTP_NAME_FRESH_S * 1000 * 1000;
    }
    if (!dyn_list_is_empty(&origin->waiting)) {
        dyn_list_splice(&origin->client->chores, &origin->waiting);
        bus_task_queue(origin->client->loop, &origin->client->task);
    }
}

/* libcurl starts a thread for each look-up. While the name is not known a few are enough; the others wait
 * here, on their own connect time. */
static bool
must_wait_for_name(const http_origin_t *origin)
{
    return !origin->is_address && origin->n_resolving >= HTTP_RESOLVES_MAX &&
           bus_loop_now_us(origin->client->loop) >= origin->name_fresh_until_us;
}

/* ---- libcurl's handle of a call ---- */

static void
set_callbacks(http_call_t *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, about_to_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, http_client_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, http_client_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, call->origin->client);
}

/* On wires a handle is only needed to make a connection: it goes from call to call. */
static void
take_easy(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    call->easy = origin->spare_easy;
    origin->spare_easy = NULL;
    if (call->easy == NULL) {
        call->easy = curl_easy_init();
        DYN_ASSERT(call->easy != NULL); /* only without memory */
        http_origin_set_options(origin, call->easy);
        curl_easy_setopt(call->easy, CURLOPT_BUFFERSIZE, BUFFER_PLAIN);
        curl_easy_setopt(call->easy, CURLOPT_CONNECT_ONLY, origin->pool != NULL ? 1L : 0L);
    }
    set_callbacks(call);
}

static void
give_easy_back(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    if (origin->pool != NULL && call->easy != NULL && origin->spare_easy == NULL) {
        origin->spare_easy = call->easy;
        curl_easy_setopt(call->easy, CURLOPT_ERRORBUFFER, NULL);
    } else if (origin->pool != NULL) {
        curl_easy_cleanup(call->easy);
    } else {
        return;
    }
    call->easy = NULL;
}

/* ---- the way in and out ---- */

static void
hand_to_libcurl(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    if (origin->pool != NULL && !call->must_be_fresh && http_wire_use_kept(call)) {
        return;
    }
    if (must_wait_for_name(origin)) {
        dyn_list_append(&origin->waiting, &call->chore);
        return;
    }
    if (call->easy == NULL) {
        take_easy(call);
    }
    call->is_added = true;
    call->is_resolving = true; /* until a socket is opened or a kept connection used */
    origin->n_resolving++;
    origin->client->is_due = true;
    (void)curl_multi_add_handle(origin->client->multi, call->easy);
}

static void
take_out(http_call_t *call)
{
    if (call->is_added) {
        call->is_added = false;
        (void)curl_multi_remove_handle(call->origin->client->multi, call->easy);
    }
    if (call->wire != NULL) {
        http_wire_leave(call);
    }
    give_easy_back(call);
    http_call_resolved(call, false);
}

void
http_call_destroy(http_call_t *call)
{
    bus_timer_fini(&call->timer);
    curl_easy_cleanup(call->easy);
    dyn_buf_fini(&call->own_head);
    free(call);
}

static void
want_fresh(http_call_t *call, bool must_be_fresh)
{
    if (call->must_be_fresh != must_be_fresh) {
        call->must_be_fresh = must_be_fresh;
        if (call->easy != NULL) {
            curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, must_be_fresh ? 1L : 0L);
        }
    }
}

void
http_call_recycle(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    take_out(call);
    want_fresh(call, false);
    dyn_list_remove(&call->link);
    dyn_list_remove(&call->chore);
    dyn_list_remove(&call->touch);
    bus_timer_disarm(&call->timer);
    dyn_block_unref(&call->body);
    free(call->headers);
    call->headers = NULL;
    call->ops = NULL;
    origin->client->n_calls--;
    if (origin->n_spare < HTTP_SPARE_CALLS_MAX) {
        origin->n_spare++;
        dyn_list_append(origin->spare.next, &call->link); /* in front: its memory is warm */
    } else {
        http_call_destroy(call);
    }
}

static void
tell_done(http_call_t *call, const struct http_call_result *result)
{
    const struct http_call_ops *ops = call->ops;
    if (ops != NULL) {
        ops->done(call->self, result);
        call->ops = NULL;
    }
}

/* Ends it from our side. While its name is looked up it cannot be taken out of libcurl without waiting
 * for the resolver's thread: then it stays, and goes when it asks for a socket. */
static void
drop(http_call_t *call)
{
    if (!call->is_added || !call->is_resolving) {
        http_call_recycle(call);
        return;
    }
    call->ops = NULL;
    call->timed_out = HTTP_CALL_COMPLETE;
    call->is_cancelled = false;
    bus_timer_disarm(&call->timer);
}

/* A kept connection may end just as it is used again, which says nothing about the request. libcurl then
 * takes another one, but gives up after five: counted over the whole life of a handle (7.88), and of a pool
 * whose server has gone all are dead. So once more, on a connection of its own. */
static bool
met_dead_connections(const http_call_t *call, CURLcode code)
{
    bool is_dead = code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING;
    bool is_wanted = call->ops != NULL && !call->is_cancelled && call->timed_out == HTTP_CALL_COMPLETE;
    return is_dead && is_wanted && call->sent > 0 && call->head_bytes == 0 && !call->has_opened;
}

/* libcurl has made a connection and leaves it to us. */
static void
go_on_with_connection(http_call_t *call)
{
    http_client_t *client = call->origin->client;
    curl_socket_t fd = CURL_SOCKET_BAD;
    (void)curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd);
    client->taken_fd = fd;
    take_out(call); /* closes all but that */
    client->taken_fd = -1;
    if (fd != CURL_SOCKET_BAD) {
        http_wire_use_new(call, fd);
    } else {
        http_call_ended(call, CURLE_COULDNT_CONNECT);
    }
}

void
http_call_ended(http_call_t *call, CURLcode code)
{
    if (code == CURLE_OK && call->origin->pool != NULL && call->is_added) {
        go_on_with_connection(call);
        return;
    }
    if (met_dead_connections(call, code)) {
        take_out(call);
        want_fresh(call, true);
        call->error[0] = '\0';
        enter_phase(call, CALL_CONNECTING, call->connect_ms);
        http_client_chore(call);
        return;
    }
    struct http_call_result result = http_call_result_of(call, code);
    take_out(call);
    tell_done(call, &result);
    http_call_recycle(call);
}

void
http_call_do_chore(http_call_t *call)
{
    if (call->is_cancelled) {
        drop(call);
    } else if (call->timed_out != HTTP_CALL_COMPLETE) {
        struct http_call_result result = http_call_result_of(call, CURLE_OK);
        tell_done(call, &result);
        drop(call);
    } else if (!call->is_added && call->wire == NULL) {
        hand_to_libcurl(call);
    } else if (call->is_paused && !call->wants_pause && call->wire != NULL) {
        call->is_paused = false;
        http_wire_set_reading(call->wire, true);
    } else if (call->is_paused && !call->wants_pause) {
        call->is_paused = false;
        (void)curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may hand over bytes in here */
        call->origin->client->is_due = true;
    }
}

/* ---- calls ---- */

http_call_t *
http_call_new(http_origin_t *origin)
{
    http_call_t *call = dyn_zalloc(sizeof *call);
    call->origin = origin;
    call->timer.fire = time_is_up;
    dyn_list_init(&call->link);
    dyn_list_init(&call->chore);
    dyn_list_init(&call->touch);
    if (origin->pool == NULL) {
        take_easy(call);
    }
    return call;
}

/* A spare call, as if it were new. */
static http_call_t *
take_spare(http_origin_t *origin)
{
    struct dyn_list *link = dyn_list_pop(&origin->spare);
    if (link == NULL) {
        return http_call_new(origin);
    }
    origin->n_spare--;
    http_call_t *call = DYN_CONTAINER_OF(link, http_call_t, link);
    call->deadline_us = 0;
    call->timed_out = HTTP_CALL_COMPLETE;
    call->head = (struct http_call_head){.content_length = UINT64_MAX};
    call->head_bytes = 0;
    call->linger_bytes = 0;
    call->sent = 0;
    call->is_cancelled = call->is_lingering = false;
    call->is_paused = call->wants_pause = call->head_is_done = call->has_opened = false;
    call->lacks_descriptor = false;
    call->error[0] = '\0';
    return call;
}

/* Options are set again only where they differ from the handle's last request. */
static void
set_request_options(http_call_t *call, const struct http_call_request *request)
{
    CURL *easy = call->easy;
    struct dyn_slice body = dyn_block_slice(request->body);
    call->is_stream = request->is_stream;
    if (call->origin->pool != NULL) {
        http_origin_own_head(request, &call->own_head);
        return;
    }
    call->headers = http_origin_own_headers(call->origin, request);
    if (call->headers != NULL || call->has_own_headers) {
        call->has_own_headers = call->headers != NULL;
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
                         call->headers != NULL ? call->headers : call->origin->headers);
    }
    if (call->has_stream_buffer != request->is_stream) {
        call->has_stream_buffer = request->is_stream;
        curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, request->is_stream ? BUFFER_STREAM : BUFFER_PLAIN);
    }
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.len > 0 ? body.data : "");
}

http_call_t *
http_call_start(http_origin_t *origin, const struct http_call_request *request,
                const struct http_call_ops *ops, void *self)
{
    http_call_t *call = take_spare(origin);
    dyn_list_append(&origin->calls, &call->link);
    origin->client->n_calls++;
    call->ops = ops;
    call->self = self;
    call->opened_fd = -1;
    call->body = request->body != NULL ? dyn_block_ref(request->body) : NULL;
    call->connect_ms = request->connect_ms;
    call->first_byte_ms = request->first_byte_ms;
    call->idle_ms = request->idle_ms;
    if (request->deadline_ms > 0) {
        call->deadline_us = bus_loop_now_us(origin->client->loop) + (uint64_t)request->deadline_ms * 1000;
    }
    set_request_options(call, request);
    enter_phase(call, CALL_CONNECTING, call->connect_ms);
    http_client_chore(call);
    return call;
}

unsigned
http_call_sent(const http_call_t *call)
{
    return call->sent;
}

bool
http_call_pause(http_call_t *call)
{
    if (call->wants_pause) {
        return false;
    }
    call->wants_pause = true;
    if (!call->is_paused && call->wire != NULL) {
        call->is_paused = true;
        http_wire_set_reading(call->wire, false);
    } else if (!call->is_paused && call->is_added && call->origin->pool == NULL) {
        call->is_paused = true;
        (void)curl_easy_pause(call->easy, CURLPAUSE_RECV);
    }
    enter_phase(call, call->phase, 0);
    return true;
}

void
http_call_resume(http_call_t *call)
{
    if (call->wants_pause) {
        call->wants_pause = false;
        enter_phase(call, call->phase, call->idle_ms);
        http_client_chore(call);
    }
}

void
http_call_clear_deadline(http_call_t *call)
{
    http_call_set_deadline(call, 0);
}

void
http_call_set_deadline(http_call_t *call, uint32_t deadline_ms)
{
    uint64_t now_us = bus_loop_now_us(call->origin->client->loop);
    call->deadline_us = deadline_ms == 0 ? 0 : now_us + (uint64_t)deadline_ms * 1000;
    set_timer(call);
}

void
http_call_cancel(http_call_t *call)
{
    call->ops = NULL;
    call->is_cancelled = true;
    http_client_chore(call);
}

void
http_call_let_go(http_call_t *call)
{
    if (call->wants_pause || !call->head_is_done) {
        http_call_cancel(call);
        return;
    }
    call->ops = NULL;
    call->is_lingering = true;
    call->deadline_us = 0;
    enter_phase(call, CALL_ANSWERING, HTTP_CALL_LINGER_MS);
}
