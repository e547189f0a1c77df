/* The ZAP handler (RFC 27) of one libzmq context: libzmq asks it about every CURVE handshake of the
 * sockets in that context. It is not CZMQ's zauth, which lives in CZMQ's own global context.
 *
 * One thread for each gateway with keys; it sleeps but for a table look-up each handshake. One request
 * is
 *   version "1.0" | request id | domain | address | routing id | mechanism | credentials..
 * and is always answered, also when it makes no sense: libzmq would let the connection wait for ever. */
#include "bus/security.h"

#include "bus/tsan.h"
#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <zmq.h>

/* Mechanism NULL has six frames, CURVE seven, PLAIN eight. */
enum { ZAP_FRAMES_MAX = 8, ZAP_CURVE_FRAMES = 7, ZAP_KEY_BYTES = 32 };
enum zap_frame {
    ZAP_VERSION,
    ZAP_REQUEST_ID,
    ZAP_DOMAIN,
    ZAP_ADDRESS,
    ZAP_ROUTING_ID,
    ZAP_MECHANISM,
    ZAP_KEY
};

struct bus_zap {
    bus_security_t *security;
    void *handler; /* REP; NULL without CURVE, then nothing runs */
    void *stop;    /* PAIR, the thread's end */
    void *stopper; /* PAIR, the other end */
    pthread_t thread;
    bool has_thread;
};

struct zap_request {
    zmq_msg_t frames[ZAP_FRAMES_MAX];
    unsigned n;
    bool too_long;
};

struct zap_answer {
    const char *status; /* RFC 27: 200, 300, 400, 500 */
    const char *text;
    char user_id[BUS_KEY_TEXT];
};

static struct dyn_slice
frame(struct zap_request *request, enum zap_frame which)
{
    if ((unsigned)which >= request->n) {
        return (struct dyn_slice){NULL, 0};
    }
    return dyn_slice(zmq_msg_data(&request->frames[which]), zmq_msg_size(&request->frames[which]));
}

/* ---- the decision ---- */

static struct zap_answer
refuse(const char *status, const char *text)
{
    return (struct zap_answer){.status = status, .text = text};
}

static void
log_refused(struct zap_request *request, const char *key, const char *why)
{
    dyn_log(DYN_LOG_WARN, "bus.key_refused", "a peer was not let in", DYN_LOG_STR("key", key),
            DYN_LOG_SLICE("address", frame(request, ZAP_ADDRESS)), DYN_LOG_STR("reason", why));
}

static struct zap_answer
judge_key(bus_security_t *security, struct zap_request *request, uint32_t roles)
{
    struct zap_answer answer = {.status = "200", .text = "OK"};
    struct dyn_slice key = frame(request, ZAP_KEY);
    (void)zmq_z85_encode(answer.user_id, (const uint8_t *)key.data, key.len);
    enum bus_role role = bus_security_allows(security, dyn_slice_str(answer.user_id), NULL, 0);
    if (role == BUS_ROLE_NONE) {
        log_refused(request, answer.user_id, "key not allowed");
        return refuse("400", "key not allowed");
    }
    if ((roles & (1u << role)) == 0) {
        log_refused(request, answer.user_id, "not for this role");
        return refuse("400", "not for this role");
    }
    return answer;
}

static struct zap_answer
judge(bus_security_t *security, struct zap_request *request)
{
    uint32_t roles = bus_zap_domain_roles(frame(request, ZAP_DOMAIN));
    if (!dyn_slice_is(frame(request, ZAP_VERSION), "1.0")) {
        return refuse("500", "unknown version of ZAP");
    }
    if (request->n <= ZAP_MECHANISM || request->too_long) {
        return refuse("500", "malformed request");
    }
    if (!dyn_slice_is(frame(request, ZAP_MECHANISM), "CURVE")) {
        return refuse("400", "only CURVE is taken");
    }
    if (request->n != ZAP_CURVE_FRAMES || frame(request, ZAP_KEY).len != ZAP_KEY_BYTES) {
        return refuse("500", "malformed request");
    }
    if (roles == 0) {
        return refuse("400", "unknown domain");
    }
    return judge_key(security, request, roles);
}

/* ---- request and reply ---- */

/* A message comes whole: once its first frame is there the others are. */
static bool
receive(void *handler, struct zap_request *request)
{
    zmq_msg_t spare;
    bool more = true;
    request->n = 0;
    request->too_long = false;
    while (more) {
        zmq_msg_t *into = request->n < ZAP_FRAMES_MAX ? &request->frames[request->n] : &spare;
        (void)zmq_msg_init(into);
        if (zmq_msg_recv(into, handler, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(into);
            return false;
        }
        BUS_TSAN_ACQUIRE(zmq_msg_data(into));
        more = zmq_msg_more(into) != 0;
        if (into == &spare) {
            request->too_long = true;
            (void)zmq_msg_close(into);
        } else {
            request->n++;
        }
    }
    return true;
}

static void
close_request(struct zap_request *request)
{
    while (request->n > 0) {
        (void)zmq_msg_close(&request->frames[--request->n]);
    }
}

static void
send_part(void *handler, struct dyn_slice part, int flags)
{
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, part.len) != 0) {
        return;
    }
    if (part.len > 0) {
        memcpy(zmq_msg_data(&message), part.data, part.len);
    }
    BUS_TSAN_RELEASE(zmq_msg_data(&message));
    if (zmq_msg_send(&message, handler, flags | ZMQ_DONTWAIT) < 0) { /* the asker is gone */
        (void)zmq_msg_close(&message);
    }
}

static void
send_answer(void *handler, struct zap_request *request, const struct zap_answer *answer)
{
    send_part(handler, DYN_SLICE("1.0"), ZMQ_SNDMORE);
    send_part(handler, frame(request, ZAP_REQUEST_ID), ZMQ_SNDMORE);
    send_part(handler, dyn_slice_str(answer->status), ZMQ_SNDMORE);
    send_part(handler, dyn_slice_str(answer->text), ZMQ_SNDMORE);
    send_part(handler, dyn_slice_str(answer->user_id), ZMQ_SNDMORE);
    send_part(handler, DYN_SLICE(""), 0); /* no further metadata */
}

static void
answer_one(struct bus_zap *zap)
{
    struct zap_request request;
    if (receive(zap->handler, &request)) {
        struct zap_answer answer = judge(zap->security, &request);
        if (answer.status[0] != '2') {
            bus_security_count_refused(zap->security);
        }
        send_answer(zap->handler, &request, &answer);
    }
    close_request(&request);
}

/* ---- the thread ---- */

/* Until something comes on the PAIR, or the context ends. */
static void *
run(void *arg)
{
    struct bus_zap *zap = arg;
    zmq_pollitem_t items[] = {{.socket = zap->handler, .events = ZMQ_POLLIN},
                              {.socket = zap->stop, .events = ZMQ_POLLIN}};
    while ((items[1].revents & ZMQ_POLLIN) == 0) {
        items[0].revents = items[1].revents = 0;
        if (zmq_poll(items, 2, -1) < 0 && zmq_errno() == ETERM) {
            break;
        }
        if ((items[0].revents & ZMQ_POLLIN) != 0) {
            answer_one(zap);
        }
    }
    return NULL;
}

static int
start_thread(struct bus_zap *zap)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&zap->thread, NULL, run, zap);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    zap->has_thread = failed == 0;
    if (failed == 0) {
        (void)pthread_setname_np(zap->thread, "zap");
    }
    errno = failed;
    return failed == 0 ? 0 : -1;
}

static int
open_sockets(struct bus_zap *zap, void *zmq_context)
{
    const int zero = 0;
    zap->handler = zmq_socket(zmq_context, ZMQ_REP);
    zap->stop = zmq_socket(zmq_context, ZMQ_PAIR);
    zap->stopper = zmq_socket(zmq_context, ZMQ_PAIR);
    if (zap->handler == NULL || zap->stop == NULL || zap->stopper == NULL ||
        zmq_setsockopt(zap->handler, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(zap->stopper, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_bind(zap->handler, "inproc://zeromq.zap.01") != 0 ||
        zmq_bind(zap->stop, "inproc://zap.stop") != 0) {
        return -1;
    }
    return zmq_connect(zap->stopper, "inproc://zap.stop");
}

bus_zap_t *
bus_zap_start(void *zmq_context, bus_security_t *security, struct dyn_err *err)
{
    struct bus_zap *zap = dyn_zalloc(sizeof *zap);
    zap->security = security;
    if (!bus_security_has_curve(security)) {
        return zap;
    }
    if (open_sockets(zap, zmq_context) != 0 || start_thread(zap) != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "cannot start the handler of keys: %s", zmq_strerror(zmq_errno()));
        bus_zap_stop(&zap);
    }
    return zap;
}

void
bus_zap_stop(bus_zap_t **zap_p)
{
    struct bus_zap *zap = *zap_p;
    *zap_p = NULL;
    if (zap == NULL) {
        return;
    }
    if (zap->has_thread) {
        (void)zmq_send(zap->stopper, "", 0, 0); /* fails when the context has ended: the thread knows */
        (void)pthread_join(zap->thread, NULL);
    }
    void *sockets[] = {zap->handler, zap->stop, zap->stopper};
    for (size_t i = 0; i < DYN_ARRAY_LEN(sockets); i++) {
        if (sockets[i] != NULL) {
            (void)zmq_close(sockets[i]);
        }
    }
    free(zap);
}
