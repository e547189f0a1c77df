/* What is counted when a request ends. Each cell has figures of its own, written by its loop alone with
 * plain stores (no lock, no locked instruction, no allocation but for a pair of provider and model that it
 * sees for the first time) and added up by whoever reads, at any time.
 *
 * How many series there can be is decided here, not by clients: the name of a model becomes a label only
 * when the record says that it is listed (`model_listed`: GET /v1/models shows it), and at most
 * REQUEST_SERIES_MAX pairs, as many as REQUEST_PAGE_MAX holds, and REQUEST_KEYS_MAX keys are told apart. */
#pragma once

#include "proto/err.h"
#include "proto/event.h"
#include "proto/metrics.h"

enum {
    REQUEST_SERIES_MAX = 128,
    REQUEST_KEYS_MAX = 64,
    REQUEST_PLUGINS_MAX = 33, /* as many as a configuration can have, and all others as one */
    /* bytes of all pairs' samples: with the rest it is less than one END may carry */
    REQUEST_PAGE_MAX = 760 * 1000,
    REQUEST_LABEL_MAX = 96, /* bytes of a label's value; the rest of a longer name is cut off */
};

/* Of one process. */
typedef struct request_metrics request_metrics_t;
struct request_cell;

request_metrics_t *request_metrics_new(unsigned n_cells);
void request_metrics_free(request_metrics_t **metrics_p); /* when no cell counts any more */
struct request_cell *request_metrics_cell(request_metrics_t *metrics, unsigned cell);

/* On the cell's loop: a request has ended, as its event tells. NULL counts nothing. */
void request_cell_count(struct request_cell *cell, const struct event_record *record);

/* ... and so plugins voted on it. */
void request_cell_count_votes(struct request_cell *cell, const struct event_record *record,
                              const struct event_plugin *votes, size_t n);

/* An attempt failed, and another one followed it: an error of that provider that no client saw. `model` is a
 * listed one, or `other`. */
void request_cell_count_error(struct request_cell *cell, struct dyn_slice provider, struct dyn_slice model,
                              enum err_code error);

/* The samples of a family of source REQUEST, with its head. Any thread. */
void request_metrics_write(request_metrics_t *metrics, enum metric_family_id family, struct dyn_buf *out);
