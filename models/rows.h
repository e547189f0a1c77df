/* Rows on their way to a catalogue: what the readers of the formats fill in and what an image is made of. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/json_scan.h"
#include "models/image.h"

struct catalogue_row {
    struct dyn_slice provider; /* our id */
    struct dyn_slice id;
    struct dyn_slice source;
    struct dyn_slice successor;
    uint32_t context_window;
    uint32_t max_output;
    uint32_t capabilities;
    uint32_t deprecated_on;
    uint32_t sunset_on;
    uint32_t updated_on;
    enum catalogue_mode mode;
    enum catalogue_status status;
    bool is_patch;     /* what it says goes over what another row of the model says, and leaves the rest */
    bool has_no_price; /* a patch: what others say it costs is wrong */
    unsigned trust; /* the lower, the more what it says counts against another row of the same model */
    size_t n_prices;
    struct image_price *prices; /* in the arena; room for IMAGE_PRICES_MAX while it is filled */
    size_t order;               /* in which it came */
};

struct catalogue_rows {
    struct arena arena; /* everything */
    struct catalogue_row *items;
    size_t n, cap;
    struct dyn_slice source; /* where a row is from that does not say it; absent: it stays unsaid */
    bool may_name_targets;   /* as providers: prices that were set for one target */
    bool are_patches;        /* rows that are read now */
    uint32_t date;           /* when such a list was looked at, 20260930 */
    struct image_price scratch[IMAGE_PRICES_MAX]; /* of the row that is being filled */
};

enum { CATALOGUE_ROWS_MAX = 100 * 1000 };

void catalogue_rows_init(struct catalogue_rows *rows);
void catalogue_rows_fini(struct catalogue_rows *rows);
/* An empty row whose prices are the scratch. */
struct catalogue_row catalogue_row(struct catalogue_rows *rows);
/* What may stand as a source: an http(s) URL without blanks. */
bool catalogue_is_url(struct dyn_slice text);
/* Adds a price or replaces that of the same kind. False: there are too many. */
bool catalogue_row_price(struct catalogue_row *row, enum catalogue_price price,
                         enum catalogue_service service, uint32_t above, uint64_t amount);
/* Copies the row with all its texts. A row without provider or id, or with one too long or with characters
 * that no id has, is left out. -1: too many rows. */
int catalogue_rows_add(struct catalogue_rows *rows, const struct catalogue_row *row);
/* Sorts them and makes one of those that tell of the same model: the most believed that has a price, with its
 * patches in the order in which they came. */
void catalogue_rows_settle(struct catalogue_rows *rows);
/* After settling: the image, allocated. */
struct image_head *catalogue_rows_pack(const struct catalogue_rows *rows);
/* After settling: our own text. */
void catalogue_rows_write(const struct catalogue_rows *rows, struct dyn_buf *out);
/* What a catalogue has as a row; its prices are the scratch. */
struct catalogue_row catalogue_row_of(struct catalogue_rows *rows, const struct catalogue_model *model);
/* All models of a catalogue as rows, believed like any other. */
void catalogue_rows_of(struct catalogue_rows *rows, const catalogue_t *catalogue);

/* The readers. -1 with a sentence; rows before the fault stay. */
int catalogue_read_text(struct catalogue_rows *rows, struct dyn_slice text, struct dyn_err *err);
int catalogue_read_litellm(struct catalogue_rows *rows, struct json_value object, struct dyn_err *err);
int catalogue_read_ferro(struct catalogue_rows *rows, struct json_value object, struct dyn_err *err);
/* Any of them, by what it begins with; a list of others is followed by our corrections of it, as patches. One
 * without any model is an error. */
int catalogue_read(struct catalogue_rows *rows, struct dyn_slice bytes, struct dyn_err *err);
