/* Gateways in this process with the bundled mock behind them, and what their callbacks leave behind. */
#pragma once

#include "dynabus.h"
#include "tests/conformance/wires.h"

#include <stdio.h>

#define CHAT(model) "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHAT_STREAM(model) \
    "{\"model\":\"" model "\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

static const char *const wire_configs[] = {"bus: {local: local}", "bus: {local: inproc}"};

static inline dynabus_t *
fixture_gateway(unsigned cells, const char *config_text)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.dev = true;
    options.cells = cells;
    options.config_text = config_text;
    char why[1024] = "";
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    return gateway;
}

static inline struct dynabus_request
fixture_request(const char *body)
{
    struct dynabus_request request = DYNABUS_REQUEST_INIT;
    request.body = body;
    request.body_len = strlen(body);
    return request;
}
