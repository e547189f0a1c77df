#include "gateway/parts.h"

#include "actors/ledger/ledger_config.h"
#include "actors/plugins/plugin_config.h"
#include "actors/providers/provider_config.h"
#include "edge/edge_config.h"
#include "gateway/gateway_config.h"
#include "router/keys_config.h"
#include "router/models_config.h"
#include "router/router_config.h"

const struct config_part *const gateway_parts[] = {
    &gateway_config_part, &edge_config_part,   &router_config_part,   &keys_config_part,
    &models_config_part,  &plugin_config_part, &provider_config_part, &ledger_config_part,
};
const size_t gateway_n_parts = DYN_ARRAY_LEN(gateway_parts);
