/* Rows collected, sorted, made one, and packed. */
#include "models/rows.h"

#include "models/prefix.h"

#include <stdlib.h>

void
catalogue_rows_init(struct catalogue_rows *rows)
{
    memset(rows, 0, sizeof *rows);
    arena_init(&rows->arena, NULL, 0);
}

void
catalogue_rows_fini(struct catalogue_rows *rows)
{
    free(rows->items);
    arena_fini(&rows->arena);
    memset(rows, 0, sizeof *rows);
}

struct catalogue_row
catalogue_row(struct catalogue_rows *rows)
{
    return (struct catalogue_row){.prices = rows->scratch};
}

bool
catalogue_row_price(struct catalogue_row *row, enum catalogue_price price, enum catalogue_service service,
                    uint32_t above, uint64_t amount)
{
    struct image_price entry = {
        .amount = amount, .above = above, .price = (uint8_t)price, .service = (uint8_t)service};
    for (size_t i = 0; i < row->n_prices; i++) {
        struct image_price *old = &row->prices[i];
        if (old->price == entry.price && old->service == entry.service && old->above == above) {
            *old = entry;
            return true;
        }
    }
    if (row->n_prices == IMAGE_PRICES_MAX) {
        return false;
    }
    row->prices[row->n_prices++] = entry;
    return true;
}

/* Printable ASCII and UTF-8 beyond it; nothing that moves a terminal or ends a field. */
static bool
is_name(struct dyn_slice text)
{
    if (text.len == 0 || text.len > CATALOGUE_ID_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* No line of our own text begins like that with a provider, and targets with prices are ours to name. */
static bool
is_provider(const struct catalogue_rows *rows, struct dyn_slice name)
{
    return is_name(name) && name.data[0] != '@' && name.data[0] != '#' &&
           (rows->may_name_targets || name.data[0] != CATALOGUE_TARGET_MARK);
}

bool
catalogue_is_url(struct dyn_slice text)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (text.len > len && memcmp(text.data, schemes[i], len) == 0) {
            return is_name(text);
        }
    }
    return false;
}

static int
compare_price(const void *left, const void *right)
{
    const struct image_price *a = left;
    const struct image_price *b = right;
    int order = (a->service > b->service) - (a->service < b->service);
    order = order != 0 ? order : (a->above > b->above) - (a->above < b->above);
    return order != 0 ? order : (a->price > b->price) - (a->price < b->price);
}

static struct image_price *
copy_prices(struct arena *arena, const struct catalogue_row *row)
{
    if (row->n_prices == 0) {
        return NULL;
    }
    size_t size = row->n_prices * sizeof *row->prices;
    struct image_price *copy = arena_alloc(arena, size);
    memcpy(copy, row->prices, size);
    qsort(copy, row->n_prices, sizeof *copy, compare_price);
    return copy;
}

int
catalogue_rows_add(struct catalogue_rows *rows, const struct catalogue_row *row)
{
    if (!is_provider(rows, row->provider) || !is_name(row->id)) {
        return 0;
    }
    if (rows->n == CATALOGUE_ROWS_MAX) {
        return -1;
    }
    if (rows->n == rows->cap) {
        rows->cap = rows->cap > 0 ? rows->cap * 2 : 256;
        rows->items = dyn_realloc(rows->items, rows->cap * sizeof *rows->items);
    }
    struct catalogue_row *copy = &rows->items[rows->n];
    *copy = *row;
    copy->provider = arena_copy(&rows->arena, row->provider);
    copy->id = arena_copy(&rows->arena, row->id);
    copy->source = catalogue_is_url(row->source) ? arena_copy(&rows->arena, row->source) : dyn_slice(NULL, 0);
    copy->successor = is_name(row->successor) ? arena_copy(&rows->arena, row->successor) : dyn_slice(NULL, 0);
    copy->prices = copy_prices(&rows->arena, row);
    copy->is_patch = rows->are_patches;
    copy->order = rows->n++;
    return 0;
}

struct catalogue_row
catalogue_row_of(struct catalogue_rows *rows, const struct catalogue_model *model)
{
    struct catalogue_row row = {
        .provider = catalogue_provider(model),
        .id = catalogue_id(model),
        .source = catalogue_source(model),
        .successor = catalogue_successor(model),
        .context_window = model->context_window,
        .max_output = model->max_output,
        .capabilities = model->capabilities,
        .deprecated_on = model->deprecated_on,
        .sunset_on = model->sunset_on,
        .updated_on = model->updated_on,
        .mode = (enum catalogue_mode)model->mode,
        .status = (enum catalogue_status)model->status,
        .n_prices = model->n_prices,
        .prices = rows->scratch,
    };
    memcpy(row.prices, image_prices(model), model->n_prices * sizeof *row.prices);
    return row;
}

void
catalogue_rows_of(struct catalogue_rows *rows, const catalogue_t *catalogue)
{
    for (size_t i = 0; i < catalogue_count(catalogue); i++) {
        struct catalogue_row row = catalogue_row_of(rows, catalogue_at(catalogue, i));
        (void)catalogue_rows_add(rows, &row);
    }
}

static int
compare_model(const struct catalogue_row *a, const struct catalogue_row *b)
{
    int order = image_compare(a->provider, b->provider);
    order = order != 0 ? order : image_compare_fold(a->id, b->id);
    return order != 0 ? order : image_compare(a->id, b->id);
}

static int
compare_row(const void *left, const void *right)
{
    const struct catalogue_row *a = left;
    const struct catalogue_row *b = right;
    int order = compare_model(a, b);
    order = order != 0 ? order : (a->trust > b->trust) - (a->trust < b->trust);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

static bool
same_model(const struct catalogue_row *a, const struct catalogue_row *b)
{
    return dyn_slice_eq(a->provider, b->provider) && dyn_slice_eq(a->id, b->id);
}

static void
take_number(uint32_t *old, uint32_t patch)
{
    *old = patch != 0 ? patch : *old;
}

static void
take_text(struct dyn_slice *old, struct dyn_slice patch)
{
    *old = patch.len > 0 ? patch : *old;
}

static void
patch_prices(struct catalogue_rows *rows, struct catalogue_row *row, const struct catalogue_row *patch)
{
    struct catalogue_row sum = catalogue_row(rows);
    if (!patch->has_no_price) {
        sum.n_prices = row->n_prices;
        memcpy(sum.prices, row->prices, row->n_prices * sizeof *row->prices);
    }
    for (size_t i = 0; i < patch->n_prices; i++) {
        const struct image_price *price = &patch->prices[i];
        (void)catalogue_row_price(&sum, (enum catalogue_price)price->price,
                                  (enum catalogue_service)price->service, price->above, price->amount);
    }
    row->prices = copy_prices(&rows->arena, &sum);
    row->n_prices = sum.n_prices;
}

static void
patch_row(struct catalogue_rows *rows, struct catalogue_row *row, const struct catalogue_row *patch)
{
    take_text(&row->source, patch->source);
    take_text(&row->successor, patch->successor);
    take_number(&row->context_window, patch->context_window);
    take_number(&row->max_output, patch->max_output);
    row->capabilities |= patch->capabilities;
    take_number(&row->deprecated_on, patch->deprecated_on);
    take_number(&row->sunset_on, patch->sunset_on);
    take_number(&row->updated_on, patch->updated_on);
    row->mode = patch->mode != CATALOGUE_MODE_UNKNOWN ? patch->mode : row->mode;
    row->status = patch->status != CATALOGUE_GA ? patch->status : row->status;
    patch_prices(rows, row, patch);
}

/* The n rows at `group` tell of one model. */
static struct catalogue_row
settle_group(struct catalogue_rows *rows, const struct catalogue_row *group, size_t n)
{
    const struct catalogue_row *base = NULL;
    for (size_t i = 0; i < n; i++) {
        bool is_better = base == NULL || (base->n_prices == 0 && group[i].n_prices > 0);
        base = !group[i].is_patch && is_better ? &group[i] : base;
    }
    struct catalogue_row row = base != NULL ? *base : group[0];
    for (size_t i = 0; i < n; i++) {
        if (group[i].is_patch) {
            patch_row(rows, &row, &group[i]);
        }
    }
    return row;
}

void
catalogue_rows_settle(struct catalogue_rows *rows)
{
    if (rows->n == 0) {
        return;
    }
    qsort(rows->items, rows->n, sizeof *rows->items, compare_row);
    size_t kept = 0;
    for (size_t begin = 0, end = 0; begin < rows->n; begin = end) {
        for (end = begin + 1; end < rows->n && same_model(&rows->items[begin], &rows->items[end]); end++) {
        }
        struct catalogue_row row = settle_group(rows, &rows->items[begin], end - begin);
        rows->items[kept++] = row;
    }
    rows->n = kept;
}

/* Where texts were put, so that those of many models (sources) are there once. */
struct text_place {
    struct dyn_slice text;
    uint32_t at;
};
enum { TEXT_PLACES = 8192 }; /* a power of two; beyond three quarters of it texts are simply written again */

struct packer {
    char *bytes;
    size_t used;
    struct text_place *places;
    size_t n_places;
};

static uint32_t
put_text(struct packer *packer, struct dyn_slice text)
{
    if (text.len == 0) {
        return 0;
    }
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 16777619u;
    }
    struct text_place *place = NULL;
    for (size_t i = hash % TEXT_PLACES;; i = (i + 1) % TEXT_PLACES) {
        place = &packer->places[i];
        if (place->at == 0 || dyn_slice_eq(place->text, text)) {
            break;
        }
    }
    if (place->at != 0) {
        return place->at;
    }
    uint32_t at = (uint32_t)packer->used;
    memcpy(packer->bytes + packer->used, text.data, text.len);
    packer->used += text.len + 1;
    if (packer->n_places < TEXT_PLACES / 4 * 3) {
        packer->n_places++;
        *place = (struct text_place){text, at};
    }
    return at;
}

/* Bytes from the record to what stands at `at`. */
static uint32_t
relative(const struct packer *packer, const void *record, uint32_t at)
{
    return at != 0 ? at - (uint32_t)((const char *)record - packer->bytes) : 0;
}

static size_t
count_providers(const struct catalogue_rows *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        n += i == 0 || !dyn_slice_eq(rows->items[i].provider, rows->items[i - 1].provider);
    }
    return n;
}

static void
pack_model(struct packer *packer, struct catalogue_model *model, const struct catalogue_row *row,
           uint32_t prices_at)
{
    model->provider_at = relative(packer, model, put_text(packer, row->provider));
    model->id_at = relative(packer, model, put_text(packer, row->id));
    model->source_at = relative(packer, model, put_text(packer, row->source));
    model->successor_at = relative(packer, model, put_text(packer, row->successor));
    model->prices_at = relative(packer, model, prices_at);
    model->id_len = (uint16_t)row->id.len;
    model->n_prices = (uint16_t)row->n_prices;
    model->context_window = row->context_window;
    model->max_output = row->max_output;
    model->capabilities = row->capabilities;
    model->deprecated_on = row->deprecated_on;
    model->sunset_on = row->sunset_on;
    model->updated_on = row->updated_on;
    model->mode = (uint8_t)row->mode;
    model->status = (uint8_t)row->status;
    if (row->n_prices > 0) {
        memcpy(packer->bytes + prices_at, row->prices, row->n_prices * sizeof *row->prices);
    }
}

/* What an index by id is sorted with: qsort() takes no context. */
struct id_place {
    struct dyn_slice id;
    size_t rank;
    uint32_t place;
};

static int
compare_place(const void *left, const void *right)
{
    const struct id_place *a = left;
    const struct id_place *b = right;
    int order = image_compare_fold(a->id, b->id);
    order = order != 0 ? order : (a->rank > b->rank) - (a->rank < b->rank);
    return order != 0 ? order : (a->place > b->place) - (a->place < b->place);
}

static void
pack_by_id(const struct catalogue_rows *rows, uint32_t *by_id)
{
    struct id_place *places = dyn_alloc((rows->n + 1) * sizeof *places);
    size_t rank = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (i == 0 || !dyn_slice_eq(rows->items[i].provider, rows->items[i - 1].provider)) {
            rank = catalogue_prefix_rank(rows->items[i].provider);
        }
        places[i] = (struct id_place){rows->items[i].id, rank, (uint32_t)i};
    }
    qsort(places, rows->n, sizeof *places, compare_place);
    for (size_t i = 0; i < rows->n; i++) {
        by_id[i] = places[i].place;
    }
    free(places);
}

static size_t
aligned(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Where everything stands. */
static struct image_head
plan(const struct catalogue_rows *rows, size_t *texts_at)
{
    size_t n_prices = 0;
    size_t texts = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const struct catalogue_row *row = &rows->items[i];
        n_prices += row->n_prices;
        /* A provider's name twice: for the model and for the list of providers. Only so many texts are
         * remembered, so that a repeat may be written again. */
        texts += 2 * (row->provider.len + 1) + row->id.len + row->source.len + row->successor.len + 3;
    }
    struct image_head head = {.n_models = (uint32_t)rows->n, .n_providers = (uint32_t)count_providers(rows)};
    size_t at = aligned(sizeof head);
    head.models_at = (uint32_t)at;
    at = aligned(at + rows->n * sizeof(struct catalogue_model));
    head.by_id_at = (uint32_t)at;
    at = aligned(at + rows->n * sizeof(uint32_t));
    head.providers_at = (uint32_t)at;
    at = aligned(at + head.n_providers * sizeof(struct image_provider));
    head.prices_at = (uint32_t)at;
    at += n_prices * sizeof(struct image_price);
    *texts_at = at;
    head.size = (uint32_t)(at + texts); /* at most; less when texts repeat */
    return head;
}

static void
pack_models(struct packer *packer, const struct catalogue_rows *rows, struct image_head *head)
{
    struct catalogue_model *models = (void *)(packer->bytes + head->models_at);
    struct image_provider *providers = (void *)(packer->bytes + head->providers_at);
    struct image_provider *provider = providers;
    uint32_t prices_at = head->prices_at;
    for (size_t i = 0; i < rows->n; i++) {
        const struct catalogue_row *row = &rows->items[i];
        pack_model(packer, &models[i], row, prices_at);
        prices_at += (uint32_t)(row->n_prices * sizeof(struct image_price));
        if (i > 0 && !dyn_slice_eq(row->provider, rows->items[i - 1].provider)) {
            provider++;
        }
        if (provider->n++ == 0) {
            provider->first = (uint32_t)i;
            provider->name_at = put_text(packer, row->provider);
        }
        models[i].provider = (uint16_t)(provider - providers);
        head->date = row->updated_on > head->date ? row->updated_on : head->date;
    }
}

struct image_head *
catalogue_rows_pack(const struct catalogue_rows *rows)
{
    size_t texts_at;
    struct image_head head = plan(rows, &texts_at);
    struct packer packer = {.bytes = dyn_zalloc(head.size),
                            .used = texts_at,
                            .places = dyn_zalloc(TEXT_PLACES * sizeof *packer.places)};
    pack_models(&packer, rows, &head);
    pack_by_id(rows, (void *)(packer.bytes + head.by_id_at));
    head.size = (uint32_t)aligned(packer.used);
    free(packer.places);
    packer.bytes = dyn_realloc(packer.bytes, head.size);
    memset(packer.bytes + packer.used, 0, head.size - packer.used);
    memcpy(packer.bytes, &head, sizeof head);
    return (void *)packer.bytes;
}
