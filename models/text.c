/* Our own text, one model a line, made to be read by people and compared by version control:
 *
 *   dynabus-catalogue 1
 *   @3 https://example.com/pricing
 *   openai TAB gpt-4o TAB chat TAB context=128000 can=vision,.. source=@3 on=20261101 $input=2500000
 *
 * A price is `$KIND[>TOKENS][@SERVICE]=AMOUNT`, AMOUNT in 10^-12 USD; in corrections `price=none` takes away
 * what another list says. What is not known is not there; keys that are not known are passed over, so that an
 * older program reads a newer file. */
#include "models/prefix.h"
#include "models/rows.h"

#include <stdlib.h>

#define TEXT_BEGINS "dynabus-catalogue 1"

enum { TEXT_SOURCES_MAX = 4096 };

struct text_reader {
    struct catalogue_rows *rows;
    struct dyn_slice sources[TEXT_SOURCES_MAX];
    size_t line;
};

/* Cuts off what stands before the first `separator`. */
static struct dyn_slice
cut(struct dyn_slice *rest, char separator)
{
    if (rest->len == 0) {
        return dyn_slice(rest->data, 0);
    }
    const char *end = memchr(rest->data, separator, rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    struct dyn_slice piece = dyn_slice(rest->data, len);
    size_t skip = end != NULL ? len + 1 : len;
    *rest = dyn_slice(rest->data + skip, rest->len - skip);
    return piece;
}

static bool
read_number(struct dyn_slice text, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.data[i] - (unsigned)'0';
        if (digit > 9 || sum > (max - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return text.len > 0;
}

static bool
read_u32(struct dyn_slice text, uint32_t *value)
{
    uint64_t number;
    if (!read_number(text, UINT32_MAX, &number)) {
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

static bool
find_word(struct dyn_slice word, const char *(*name_of)(unsigned), unsigned n, unsigned *index)
{
    for (unsigned i = 0; i < n; i++) {
        if (dyn_slice_is(word, name_of(i))) {
            *index = i;
            return true;
        }
    }
    return false;
}

/* clang-format off */
static const char *mode_name(unsigned i) { return catalogue_mode_name((enum catalogue_mode)i); }
static const char *status_name(unsigned i) { return catalogue_status_name((enum catalogue_status)i); }
static const char *price_name(unsigned i) { return catalogue_price_name((enum catalogue_price)i); }
static const char *service_name(unsigned i) { return catalogue_service_name((enum catalogue_service)i); }
/* clang-format on */
static const char *
capability_name(unsigned i)
{
    return catalogue_capability_name((enum catalogue_capability)i);
}

static void
read_capabilities(struct dyn_slice words, struct catalogue_row *row)
{
    while (words.len > 0) {
        unsigned index;
        if (find_word(cut(&words, ','), capability_name, CATALOGUE_CAPABILITY_COUNT, &index)) {
            row->capabilities |= 1u << index;
        }
    }
}

/* `what` is KIND[>TOKENS][@SERVICE]. False: the line is wrong. */
static bool
read_price(struct dyn_slice what, struct dyn_slice amount, struct catalogue_row *row)
{
    struct dyn_slice service_word = what;
    struct dyn_slice kind = cut(&service_word, '@');
    struct dyn_slice above_word = kind;
    kind = cut(&above_word, '>');
    unsigned price;
    unsigned service = CATALOGUE_STANDARD;
    uint32_t above = 0;
    uint64_t value;
    if (!read_number(amount, PRICE_UNKNOWN - 1, &value)) {
        return false;
    }
    if (above_word.len > 0 && !read_u32(above_word, &above)) {
        return false;
    }
    if (!find_word(kind, price_name, CATALOGUE_PRICE_COUNT, &price) ||
        (service_word.len > 0 && !find_word(service_word, service_name, CATALOGUE_SERVICE_COUNT, &service))) {
        return true; /* of a newer version */
    }
    return catalogue_row_price(row, (enum catalogue_price)price, (enum catalogue_service)service, above,
                               value);
}

static bool
read_status(struct dyn_slice word, struct catalogue_row *row)
{
    unsigned status = CATALOGUE_GA;
    (void)find_word(word, status_name, CATALOGUE_STATUS_COUNT, &status);
    row->status = (enum catalogue_status)status;
    return true;
}

static bool
read_source(const struct text_reader *reader, struct dyn_slice value, struct catalogue_row *row)
{
    if (value.len == 0 || value.data[0] != '@') {
        row->source = value;
        return true;
    }
    uint64_t number;
    if (!read_number(dyn_slice(value.data + 1, value.len - 1), TEXT_SOURCES_MAX - 1, &number)) {
        return false;
    }
    row->source = reader->sources[number];
    return true;
}

static bool
read_fact(const struct text_reader *reader, struct dyn_slice fact, struct catalogue_row *row)
{
    struct dyn_slice value = fact;
    struct dyn_slice key = cut(&value, '=');
    if (key.len > 1 && key.data[0] == '$') {
        return read_price(dyn_slice(key.data + 1, key.len - 1), value, row);
    }
    struct {
        const char *key;
        uint32_t *number;
    } numbers[] = {
        {"context", &row->context_window}, {"output", &row->max_output}, {"deprecated", &row->deprecated_on},
        {"sunset", &row->sunset_on},       {"on", &row->updated_on},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        if (dyn_slice_is(key, numbers[i].key)) {
            return read_u32(value, numbers[i].number);
        }
    }
    if (dyn_slice_is(key, "can")) {
        read_capabilities(value, row);
    } else if (dyn_slice_is(key, "successor")) {
        row->successor = value;
    } else if (dyn_slice_is(key, "source")) {
        return read_source(reader, value, row);
    } else if (dyn_slice_is(key, "status")) {
        return read_status(value, row);
    } else if (dyn_slice_is(key, "price")) {
        row->has_no_price = dyn_slice_is(value, "none");
    }
    return true;
}

static bool
read_model(struct text_reader *reader, struct dyn_slice line)
{
    struct catalogue_row row = catalogue_row(reader->rows);
    struct dyn_slice provider = cut(&line, '\t');
    row.provider = catalogue_prefix_id(provider);
    row.trust = catalogue_prefix_trust(provider);
    row.id = cut(&line, '\t');
    unsigned mode = CATALOGUE_MODE_UNKNOWN;
    (void)find_word(cut(&line, '\t'), mode_name, CATALOGUE_MODE_COUNT, &mode);
    row.mode = (enum catalogue_mode)mode;
    if (row.provider.len == 0 || row.id.len == 0) {
        return false;
    }
    while (line.len > 0) {
        struct dyn_slice fact = cut(&line, ' ');
        if (fact.len > 0 && !read_fact(reader, fact, &row)) {
            return false;
        }
    }
    return catalogue_rows_add(reader->rows, &row) == 0;
}

static bool
read_line(struct text_reader *reader, struct dyn_slice line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    if (line.len == 0 || line.data[0] == '#') {
        return true;
    }
    if (line.data[0] != '@') {
        return read_model(reader, line);
    }
    uint64_t number;
    struct dyn_slice name = cut(&line, ' ');
    if (!read_number(dyn_slice(name.data + 1, name.len - 1), TEXT_SOURCES_MAX - 1, &number)) {
        return false;
    }
    reader->sources[number] = line;
    return true;
}

int
catalogue_read_text(struct catalogue_rows *rows, struct dyn_slice text, struct dyn_err *err)
{
    struct text_reader *reader = dyn_zalloc(sizeof *reader);
    reader->rows = rows;
    struct dyn_slice begins = cut(&text, '\n');
    bool is_sound = dyn_slice_is(begins, TEXT_BEGINS) || dyn_slice_is(begins, TEXT_BEGINS "\r");
    for (reader->line = 1; is_sound && text.len > 0;) {
        reader->line++;
        is_sound = read_line(reader, cut(&text, '\n'));
    }
    int rc = is_sound ? 0
                      : dyn_err_set(err, DYN_E_INVALID, "line %zu of the catalogue cannot be understood",
                                    reader->line);
    free(reader);
    return rc;
}

static size_t
source_number(const struct dyn_slice *sources, size_t n, struct dyn_slice source)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image_compare(sources[middle], source) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int
compare_slices(const void *left, const void *right)
{
    const struct dyn_slice *a = left;
    const struct dyn_slice *b = right;
    return image_compare(*a, *b);
}

/* All sources, sorted, each once. The caller frees them. */
static struct dyn_slice *
collect_sources(const struct catalogue_rows *rows, size_t *n_p)
{
    struct dyn_slice *sources = dyn_alloc((rows->n + 1) * sizeof *sources);
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (rows->items[i].source.len > 0) {
            sources[n++] = rows->items[i].source;
        }
    }
    qsort(sources, n, sizeof *sources, compare_slices);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !dyn_slice_eq(sources[kept - 1], sources[i])) {
            sources[kept++] = sources[i];
        }
    }
    *n_p = kept;
    return sources;
}

static void
write_number(struct dyn_buf *out, const char *key, uint32_t value)
{
    if (value != 0) {
        dyn_buf_addf(out, " %s=%u", key, value);
    }
}

static void
write_capabilities(struct dyn_buf *out, uint32_t capabilities)
{
    const char *before = " can=";
    for (unsigned i = 0; i < CATALOGUE_CAPABILITY_COUNT; i++) {
        if ((capabilities >> i) & 1) {
            dyn_buf_add_str(out, before);
            dyn_buf_add_str(out, capability_name(i));
            before = ",";
        }
    }
}

static void
write_prices(struct dyn_buf *out, const struct catalogue_row *row)
{
    for (size_t i = 0; i < row->n_prices; i++) {
        const struct image_price *price = &row->prices[i];
        dyn_buf_addf(out, " $%s", price_name(price->price));
        if (price->above != 0) {
            dyn_buf_addf(out, ">%u", price->above);
        }
        if (price->service != CATALOGUE_STANDARD) {
            dyn_buf_addf(out, "@%s", service_name(price->service));
        }
        dyn_buf_add_char(out, '=');
        dyn_buf_add_uint(out, price->amount);
    }
}

static void
write_row(struct dyn_buf *out, const struct catalogue_row *row, const struct dyn_slice *sources,
          size_t n_sources)
{
    dyn_buf_add_slice(out, row->provider);
    dyn_buf_add_char(out, '\t');
    dyn_buf_add_slice(out, row->id);
    dyn_buf_add_char(out, '\t');
    dyn_buf_add_str(out, mode_name(row->mode));
    dyn_buf_add_char(out, '\t');
    size_t begin = out->len;
    write_number(out, "context", row->context_window);
    write_number(out, "output", row->max_output);
    if (row->status != CATALOGUE_GA) {
        dyn_buf_addf(out, " status=%s", status_name(row->status));
    }
    write_number(out, "deprecated", row->deprecated_on);
    write_number(out, "sunset", row->sunset_on);
    if (row->successor.len > 0) {
        dyn_buf_add_str(out, " successor=");
        dyn_buf_add_slice(out, row->successor);
    }
    write_capabilities(out, row->capabilities);
    if (row->source.len > 0) {
        dyn_buf_addf(out, " source=@%zu", source_number(sources, n_sources, row->source));
    }
    write_number(out, "on", row->updated_on);
    write_prices(out, row);
    if (out->len > begin) { /* the first space is no separator */
        memmove(out->data + begin, out->data + begin + 1, out->len - begin - 1);
        out->len--;
    }
    dyn_buf_add_char(out, '\n');
}

void
catalogue_rows_write(const struct catalogue_rows *rows, struct dyn_buf *out)
{
    size_t n_sources;
    struct dyn_slice *sources = collect_sources(rows, &n_sources);
    dyn_buf_add_str(out, TEXT_BEGINS "\n");
    for (size_t i = 0; i < n_sources; i++) {
        dyn_buf_addf(out, "@%zu ", i);
        dyn_buf_add_slice(out, sources[i]);
        dyn_buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < rows->n; i++) {
        write_row(out, &rows->items[i], sources, n_sources);
    }
    free(sources);
}
