#include "gateway/variables.h"

#include "core/log.h"

#include <stdlib.h>

/* In the order of docs/migrate/ferro.md. */
static const char *const not_served[] = {
    "RATE_LIMIT_RPS",
    "RATE_LIMIT_BURST",
    "ENABLE_PPROF",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
};

void
gateway_warn_of_variables(void)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(not_served); i++) {
        const char *value = getenv(not_served[i]);
        if (value != NULL && *value != '\0') {
            dyn_log(DYN_LOG_WARN, "config.variable", "this variable is not supported in this version",
                    DYN_LOG_STR("variable", not_served[i]));
        }
    }
}
