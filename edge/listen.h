/* Listening sockets: what an address means, and opening it once per cell. It accepts nothing (accept.h). */
#pragma once

#include "core/err.h"

enum {
    LISTEN_ADDRESSES_MAX = 4, /* that one name may stand for: localhost is two */
    LISTEN_TEXT_SIZE = 64,
};

struct listeners {
    int     *fds; /* n_cells * per_cell, those of a cell together; -1: taken */
    unsigned n_cells;
    unsigned per_cell;
    char     text[LISTEN_TEXT_SIZE]; /* where, for people: "127.0.0.1:8080", "[::]:8080" */
};

/* `address` is HOST:PORT, [IPv6]:PORT, :PORT (all addresses, IPv4 and IPv6) or PORT; port 0: a free one.
 * -1 with a sentence: DYN_E_INVALID what is written makes no sense, DYN_E_FULL the port is in use, DYN_E_IO
 * the system refused. `share`: take the port also when another process listens on it with SO_REUSEPORT, for a
 * handover. Resolving a name may block: before the loops run. */
int  listen_open(struct dyn_slice address, unsigned n_cells, bool share, struct listeners *listeners,
                 struct dyn_err *err);
void listen_close(struct listeners *listeners);
/* For a handover: new connections go to the process that shares the port and came after this one, which
 * has `n_cells` sockets in the group; when there is none nothing changes. A closed listener's queue is
 * lost with it, so a process that leaves first stops getting more. */
void listen_steer_away(int fd, unsigned n_cells);

/* "http://127.0.0.1:8080" of a listener's text: what a client on this machine types, so loopback stands for
 * all addresses. */
enum { LISTEN_URL_SIZE = LISTEN_TEXT_SIZE + 9 };
void listen_url(const char *text, const char *scheme, char out[LISTEN_URL_SIZE]);

/* Every address that it stands for can be reached from this host only. -1: it makes no sense. */
int listen_is_loopback(struct dyn_slice address, bool *is_loopback, struct dyn_err *err);
