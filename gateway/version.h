/* What this build is. The values come from gateway/version.c.in. */
#pragma once

extern const char gateway_version[];   /* "0.1.0" */
extern const char gateway_commit[];    /* short commit; "unknown" outside a checkout */
extern const char gateway_libraries[]; /* "libzmq 4.3.4, libcurl 7.88.1, ...": those it was built with */
