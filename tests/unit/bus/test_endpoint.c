/* Endpoints of the bus: what is taken, what is refused with which words, and the three parts of one. */
#include "bus/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static struct bus_endpoint
parsed(const char *text)
{
    struct bus_endpoint endpoint;
    struct dyn_err err = {.text = ""};
    if (bus_endpoint_parse(dyn_slice_str(text), &endpoint, &err) != 0) {
        fail_msg("%s: %s", text, err.text);
    }
    return endpoint;
}

static const struct {
    const char *text;
    const char *host;
    unsigned port;
    const char *parts[3];
} good[] = {
    {"tcp://127.0.0.1:7400",
     "127.0.0.1",
     7400,
     {"tcp://127.0.0.1:7400", "tcp://127.0.0.1:7401", "tcp://127.0.0.1:7402"}},
    {"tcp://router", "router", 7400, {"tcp://router:7400", "tcp://router:7401", "tcp://router:7402"}},
    {"tcp://a_b-c.example:65533",
     "a_b-c.example",
     65533,
     {"tcp://a_b-c.example:65533", "tcp://a_b-c.example:65534", "tcp://a_b-c.example:65535"}},
    {"tcp://[::1]", "::1", 7400, {"tcp://[::1]:7400", "tcp://[::1]:7401", "tcp://[::1]:7402"}},
    {"tcp://[fe80::1%eth0]:1",
     "fe80::1%eth0",
     1,
     {"tcp://[fe80::1%eth0]:1", "tcp://[fe80::1%eth0]:2", "tcp://[fe80::1%eth0]:3"}},
    {"tcp://*:80", "*", 80, {"tcp://*:80", "tcp://*:81", "tcp://*:82"}},
    {"tcp://127.0.0.1:0", "127.0.0.1", 0, {"tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0"}},
    {"ipc:///run/dynabus",
     "/run/dynabus",
     0,
     {"ipc:///run/dynabus", "ipc:///run/dynabus.workers", "ipc:///run/dynabus.events"}},
    {"ipc://here", "here", 0, {"ipc://here", "ipc://here.workers", "ipc://here.events"}},
};

static void
one_endpoint_names_three(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(good); i++) {
        struct bus_endpoint endpoint = parsed(good[i].text);
        assert_string_equal(endpoint.host, good[i].host);
        assert_int_equal(endpoint.port, good[i].port);
        for (int part = BUS_ENDPOINT_CLIENTS; part <= BUS_ENDPOINT_EVENTS; part++) {
            char text[BUS_ENDPOINT_MAX];
            bus_endpoint_text(&endpoint, (enum bus_endpoint_part)part, text);
            assert_string_equal(text, good[i].parts[part]);
        }
    }
}

static const struct {
    const char *text;
    const char *says;
} bad[] = {
    {"", "write tcp://HOST:PORT or ipc:///PATH"},
    {"router:7400", "write tcp://HOST:PORT"},
    {"TCP://router", "write tcp://HOST:PORT"},
    {"inproc://router", "write tcp://HOST:PORT"},
    {"tcp://", "has no host"},
    {"tcp://:7400", "has no host"},
    {"tcp://[]:7400", "has no host"},
    {"tcp://router:", "port is not a number"},
    {"tcp://router:+1", "port is not a number"},
    {"tcp://router:0x1", "port is not a number"},
    {"tcp://router:65536", "port is not a number up to"},
    {"tcp://router:99999999999", "port is not a number up to"},
    {"tcp://router:65534", "port is too high"},
    {"tcp://router:65535", "port is too high"},
    {"tcp://::1:7400", "of IPv6 stands in [ ]"},
    {"tcp://[::1", "in [ ]"},
    {"tcp://[::1]7400", "in [ ]"},
    {"tcp://[router]:7400", "neither a name nor a number"},
    {"tcp://a/b", "neither a name nor a number"},
    {"tcp://a;b", "neither a name nor a number"}, /* libzmq would take what is before it for a source */
    {"tcp://*x", "neither a name nor a number"},
    {"tcp://a b", "visible ASCII"},
    {"tcp://a\n", "visible ASCII"},
    {"tcp://\xc3\xa4", "visible ASCII"},
    {"ipc://", "write ipc:///path"},
    {"ipc:///"
     "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
     "characters"},
};

static void
a_broken_one_says_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad); i++) {
        struct bus_endpoint endpoint;
        struct dyn_err err = {.text = ""};
        if (bus_endpoint_parse(dyn_slice_str(bad[i].text), &endpoint, &err) != -1 ||
            strstr(err.text, bad[i].says) == NULL) {
            fail_msg("%s: '%s' instead of '%s'", bad[i].text, err.text, bad[i].says);
        }
    }
}

static void
lengths_are_bounded(void **state)
{
    (void)state;
    struct bus_endpoint endpoint;
    struct dyn_err err;
    char text[600] = "tcp://";
    memset(text + 6, 'a', 255);
    assert_int_equal(bus_endpoint_parse(dyn_slice(text, 6 + 255), &endpoint, &err), 0);
    bus_endpoint_text(&endpoint, BUS_ENDPOINT_EVENTS, text);
    assert_int_equal(strlen(text), 6 + 255 + 5);
    memset(text + 6, 'a', 500);
    assert_int_equal(bus_endpoint_parse(dyn_slice(text, 6 + 256), &endpoint, &err), -1);
    assert_int_equal(bus_endpoint_parse(dyn_slice(text, 6 + 500), &endpoint, &err), -1);
    assert_non_null(strstr(err.text, "too long"));
    assert_int_equal(bus_endpoint_parse(dyn_slice(NULL, 0), &endpoint, &err), -1);
}

static void
only_loopback_is_local(void **state)
{
    (void)state;
    static const char *const local[] = {"tcp://127.0.0.1", "tcp://127.9.9.9:1", "tcp://[::1]",
                                        "tcp://localhost", "ipc:///x"};
    static const char *const remote[] = {"tcp://0.0.0.0",      "tcp://*",     "tcp://128.0.0.1",
                                         "tcp://[::]",         "tcp://[::2]", "tcp://127.0.0.1.example",
                                         "tcp://localhost.de", "tcp://127.1", "tcp://10.0.0.1"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(local); i++) {
        struct bus_endpoint endpoint = parsed(local[i]);
        assert_true(bus_endpoint_is_local(&endpoint));
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(remote); i++) {
        struct bus_endpoint endpoint = parsed(remote[i]);
        assert_false(bus_endpoint_is_local(&endpoint));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_endpoint_names_three),
        cmocka_unit_test(a_broken_one_says_what_is_wrong),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(only_loopback_is_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
