/* Connections that nobody used for a while. libcurl closes those only on the occasion of the next request, so
 * what a load opened would stay open, with its memory (3 KiB each, with TLS many times that), for as long as
 * it is quiet. So when it is, we make that occasion: a call that gets no socket. libcurl 7.88 has no other
 * way to say "close what is old"; while requests run it is not done, for libcurl then asks the kernel about
 * every connection that may stay, once for every one that may not. */
#include "actors/providers/http_wire.h"

enum {
    LOOK_EVERY_MS = 10 * 1000,
    MANY_KEPT = 128,       /* more than these are of a load that is over */
    QUIET_MANY_S = 20,     /* then they go after this */
    QUIET_S = HTTP_IDLE_S, /* a few wait for the next request as long as their servers may keep them */
};

static curl_socket_t
no_socket(void *unused, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)unused;
    (void)purpose;
    (void)address;
    return CURL_SOCKET_BAD;
}

/* Of any handle's request libcurl asks first what is too old by that handle's option. */
static void
sweep(http_client_t *client, long age_s)
{
    CURL *easy = curl_easy_init();
    DYN_ASSERT(easy != NULL); /* only without memory */
    curl_easy_setopt(easy, CURLOPT_URL, "http://127.0.0.1/");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, no_socket);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, age_s);
    client->sweeper = easy;
    (void)curl_multi_add_handle(client->multi, easy);
}

static void
look(struct bus_timer *timer)
{
    http_client_t *client = DYN_CONTAINER_OF(timer, http_client_t, sweep_timer);
    if (client->n_kept == 0 && client->n_wires == 0) {
        return; /* armed again by the next connection */
    }
    uint64_t now_us = bus_loop_now_us(client->loop);
    bus_timer_arm(client->loop, timer, LOOK_EVERY_MS);
    if (client->n_calls > 0) {
        client->last_call_us = now_us;
    }
    http_wires_sweep(client, client->n_wires > MANY_KEPT ? QUIET_MANY_S : QUIET_S);
    unsigned age_s = client->n_kept > MANY_KEPT ? QUIET_MANY_S : QUIET_S;
    if (client->n_kept > 0 && client->sweeper == NULL &&
        now_us - client->last_call_us > (uint64_t)age_s * 1000 * 1000) {
        sweep(client, (long)age_s - 1);
    }
}

void
http_sweep_init(http_client_t *client)
{
    client->sweep_timer.fire = look;
}

void
http_sweep_arm(http_client_t *client)
{
    if (!bus_timer_is_armed(&client->sweep_timer)) {
        bus_timer_arm(client->loop, &client->sweep_timer, LOOK_EVERY_MS);
    }
}

void
http_sweep_ended(http_client_t *client)
{
    if (client->sweeper != NULL) {
        (void)curl_multi_remove_handle(client->multi, client->sweeper);
        curl_easy_cleanup(client->sweeper);
        client->sweeper = NULL;
    }
}

void
http_sweep_fini(http_client_t *client)
{
    http_sweep_ended(client);
    bus_timer_fini(&client->sweep_timer);
}
