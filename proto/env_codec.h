/* An envelope's header as bytes and back (01-ENVELOPE.md). The body is not touched: it is a frame of
 * its own on every wire. What is not in the header: addresses (routing is the wire's), received_us. */
#pragma once

#include "core/buf.h"
#include "core/err.h"
#include "proto/env.h"

enum {
    ENV_VERSION_MAJOR = 1,
    ENV_VERSION_MINOR = 3,
    ENV_VOTES_SINCE = 3,  /* minor version that brought ASK and VOTE as they are */
    ENV_HEALTH_SINCE = 2, /* minor version from which on a HEARTBEAT may have a body */
    ENV_HEADER_MAX = 128 * 1024,    /* bytes of a header */
    ENV_MEMBERS_MAX = 64,           /* of its map, known or not */
    ENV_VALUES_MAX = 1024,          /* values in it, keys and nested ones counted */
    ENV_BODY_MAX = 128 * 1024 * 1024, /* bytes of a REQUEST's body */
    ENV_MAP_BODY_MAX = 1024 * 1024,   /* of the map that READY, EVENT or HEARTBEAT carries */
};

/* Appends the header. Texts are cut at their limits, bytes that are not UTF-8 become '?', headers that
 * would pass the limit are left out. -1 when even so it would be longer than ENV_HEADER_MAX. */
DYN_MUST_CHECK int env_encode(const struct env *env, struct dyn_buf *out, struct dyn_err *err);
/* The same for a peer that speaks an earlier minor version (READY has told): what that did not know is left
 * out, an error that it did not know is the one of its version that comes nearest. A surface that it did not
 * know is DYN_E_INVALID. The body of a HEARTBEAT is the sender's to leave out (ENV_HEALTH_SINCE). */
DYN_MUST_CHECK int env_encode_for(const struct env *env, unsigned minor, struct dyn_buf *out,
                                  struct dyn_err *err);

/* Makes an envelope without a body of a header that may come from anyone. 0 with *env_p; 1 when it is of
 * a kind that only a later minor version knows: to be counted and dropped; -1 with err (DYN_E_LIMIT,
 * DYN_E_INVALID) when it breaks the protocol. *env_p is set with 0 only. */
DYN_MUST_CHECK int env_decode(struct dyn_slice header, struct env **env_p, struct dyn_err *err);

/* Bytes of the largest body that may come with that kind, in an envelope of that minor version. */
size_t env_body_max(enum env_kind kind, unsigned minor);

/* Gives it the body that came with the header: takes *body_p, which may be NULL. -1 (DYN_E_LIMIT) when a
 * body of that length may not come with this kind. */
DYN_MUST_CHECK int env_take_body(struct env *env, dyn_block_t **body_p, struct dyn_err *err);

/* The version a header claims, whatever else is in it: why a peer is told GOODBYE `version`. -1: none. */
int env_header_version(struct dyn_slice header, unsigned *major, unsigned *minor);

const char *env_outcome_name(enum env_outcome outcome); /* "ok"; "unknown" out of range */
