/* How often each thing was asked: for behaviours that change with the call (`times`, `every`). A table of
 * fixed size keyed by hash; when its row is full the oldest entry of the row makes room. */
#pragma once

#include "core/base.h"

enum { MOCK_COUNT_ROWS = 4096, MOCK_COUNT_ROW = 4 };

struct mock_count {
    uint64_t key;
    uint64_t n;
};

struct mock_counts {
    struct mock_count rows[MOCK_COUNT_ROWS][MOCK_COUNT_ROW];
    uint8_t next[MOCK_COUNT_ROWS]; /* entry of the row to be given up next */
};

/* The same for the same texts, on every machine. */
uint64_t mock_counts_key(struct dyn_slice model, struct dyn_slice number);
/* Counts one more and returns how many there are now. */
uint64_t mock_counts_add(struct mock_counts *counts, struct dyn_slice model, struct dyn_slice number);
