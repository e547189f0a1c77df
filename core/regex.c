/* No just-in-time compiler: it needs pages that are written and executed, which hardened systems forbid, and
 * patterns that route are short. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/regex.h"

#include "core/buf.h"

#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

/* A long text is searched in batches of places, each with so much of the text as follows: what one place can
 * cost is small then. Only where that does not tell is a place tried with all of the text. */
enum {
    REGEX_SCRATCH = 32 * 1024, /* on the stack of a search; PCRE2's first states take 20 KB */
    REGEX_DEPTH_MAX = 20 * 1000,
    REGEX_PLACES = 256,
    REGEX_WINDOW = 4096,     /* bytes behind the last place */
    REGEX_STEPS = 500,       /* of each place of a batch */
    REGEX_CLOCK_BATCHES = 4, /* a look at the clock costs as much as some batches */
};

struct dyn_regex {
    pcre2_code *code;
    bool is_unbounded;
    bool moves_begin;
};

/* ---- RE2's syntax ---- */

/* A pattern on its way to PCRE2's syntax. */
struct translation {
    struct dyn_slice pattern;
    size_t at;
    struct dyn_buf out;
    size_t longer;  /* bytes that `out` has gained until its end, to find places in `pattern` again */
    bool is_quoted; /* between \Q and \E */
    bool is_in_class;
    size_t class_from; /* where a ] would be one of the class */
    bool is_unbounded; /* it has a repetition without an end, or calls itself */
    bool moves_begin;  /* \K outside of a class */
};

/* Characters of UTF-8 before that byte, plus one. */
static unsigned
column_of(struct dyn_slice pattern, size_t offset)
{
    unsigned column = 1;
    for (size_t i = 0; i < offset && i < pattern.len; i++) {
        column += ((unsigned char)pattern.data[i] & 0xC0) != 0x80;
    }
    return column;
}

static int
refuse(struct dyn_slice pattern, size_t offset, const char *what, unsigned *column, struct dyn_err *err)
{
    unsigned at = column_of(pattern, offset);
    if (column != NULL) {
        *column = at;
    }
    return dyn_err_set(err, DYN_E_INVALID, "%s at column %u of the expression", what, at);
}

/* A place, as ^ or \\b are, of `len` bytes that may be repeated in RE2 and must be a group for that in PCRE2.
 * False: nothing repeats it. */
static bool
translate_repeated_place(struct translation *t, size_t len)
{
    size_t behind = t->at + len;
    if (behind >= t->pattern.len || memchr("*+?", t->pattern.data[behind], 3) == NULL) {
        return false;
    }
    dyn_buf_add_str(&t->out, "(?:");
    dyn_buf_add(&t->out, t->pattern.data + t->at, len);
    dyn_buf_add_char(&t->out, ')');
    t->longer += sizeof "(?:)" - 1;
    t->at = behind;
    return true;
}

/* Two bytes, of which the first is a backslash. NULL, or what is wrong. */
static const char *
translate_escape(struct translation *t, char escaped)
{
    if (t->is_quoted) {
        t->is_quoted = escaped != 'E';
    } else if (escaped == 'C') {
        return "\\C, a single byte, cannot be matched";
    } else if (escaped == 'v') { /* one character there, a class of them here */
        dyn_buf_add_str(&t->out, "\\x0b");
        t->longer += 2;
        t->at += 2;
        return NULL;
    } else if (!t->is_in_class && memchr("bBAz", escaped, 4) != NULL && translate_repeated_place(t, 2)) {
        return NULL;
    } else {
        t->is_quoted = escaped == 'Q';
    }
    if (!t->is_quoted &&
        (escaped == 'g' || escaped == 'X')) { /* a call of a group; a character of any length */
        t->is_unbounded = true;
    }
    t->moves_begin = t->moves_begin || (escaped == 'K' && !t->is_quoted && !t->is_in_class);
    dyn_buf_add(&t->out, t->pattern.data + t->at, 2);
    t->at += 2;
    return NULL;
}

/* "{3,}" at that place. */
static bool
is_open_count(struct dyn_slice pattern, size_t at)
{
    size_t digits = 0;
    for (at++; at < pattern.len && pattern.data[at] >= '0' && pattern.data[at] <= '9'; at++) {
        digits++;
    }
    return digits > 0 && at + 1 < pattern.len && pattern.data[at] == ',' && pattern.data[at + 1] == '}';
}

/* "(?R", "(?1", "(?+1", "(?&name", "(?P>name" */
static bool
is_call(struct dyn_slice pattern, size_t at)
{
    if (pattern.len - at < 3 || pattern.data[at + 1] != '?') {
        return false;
    }
    char kind = pattern.data[at + 2];
    char next = pattern.len - at > 3 ? pattern.data[at + 3] : '\0';
    bool is_signed = (kind == '+' || kind == '-') && next >= '0' && next <= '9';
    return kind == 'R' || kind == '&' || (kind >= '0' && kind <= '9') || is_signed ||
           (kind == 'P' && next == '>');
}

/* Bytes of "[:alpha:]" at that place; 0: it is no such name. */
static size_t
posix_name(struct dyn_slice pattern, size_t at)
{
    size_t end = at + 2;
    if (pattern.len - at < 4 || pattern.data[at + 1] != ':') {
        return 0;
    }
    while (end < pattern.len &&
           ((pattern.data[end] >= 'a' && pattern.data[end] <= 'z') || pattern.data[end] == '^')) {
        end++;
    }
    bool is_name = pattern.len - end >= 2 && pattern.data[end] == ':' && pattern.data[end + 1] == ']';
    return is_name ? end + 2 - at : 0;
}

static void
begin_class(struct translation *t)
{
    bool is_negated = t->at + 1 < t->pattern.len && t->pattern.data[t->at + 1] == '^';
    size_t head = is_negated ? 2 : 1;
    dyn_buf_add(&t->out, t->pattern.data + t->at, head);
    t->at += head;
    t->is_in_class = true;
    t->class_from = t->at;
}

/* A character of a class that is no escape. "[." and "[=" begin names in PCRE2, and nothing in RE2. */
static void
translate_in_class(struct translation *t, char c)
{
    size_t len = c == '[' ? posix_name(t->pattern, t->at) : 0;
    if (c == '[' && len == 0) {
        dyn_buf_add_char(&t->out, '\\');
        t->longer++;
    }
    t->is_in_class = c != ']' || t->at == t->class_from;
    len = len > 0 ? len : 1;
    dyn_buf_add(&t->out, t->pattern.data + t->at, len);
    t->at += len;
}

/* A character that is no escape: whether the expression has a bound still. */
static void
look_for_bounds(struct translation *t, char c)
{
    if (t->is_quoted) {
        return;
    }
    if (c == '*' || c == '+' || (c == '{' && is_open_count(t->pattern, t->at)) ||
        (c == '(' && is_call(t->pattern, t->at))) {
        t->is_unbounded = true;
    }
}

/* NULL, or what is wrong at `at`. */
static const char *
translate(struct translation *t)
{
    while (t->at < t->pattern.len) {
        char c = t->pattern.data[t->at];
        char next = t->at + 1 < t->pattern.len ? t->pattern.data[t->at + 1] : '\0';
        const char *wrong = NULL;
        if (c == '\\' && t->at + 1 < t->pattern.len) {
            wrong = translate_escape(t, next);
        } else if (t->is_in_class && !t->is_quoted) {
            translate_in_class(t, c);
        } else if (c == '[' && !t->is_quoted) {
            begin_class(t);
        } else if ((c == '^' || c == '$') && !t->is_quoted && translate_repeated_place(t, 1)) {
            continue;
        } else if (c == '(' && next == '*' && !t->is_quoted) { /* a verb of PCRE2 */
            wrong = "there is nothing to repeat";
        } else {
            look_for_bounds(t, c);
            dyn_buf_add_char(&t->out, c);
            t->at++;
        }
        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}

/* ---- compiling ---- */

static pcre2_code *
compile(struct dyn_slice pattern, uint32_t options, size_t *offset, char *what, size_t what_size)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    DYN_ASSERT(context != NULL);
    int error = 0;
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern.data, pattern.len,
                                     options | PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT, &error, offset, context);
    pcre2_compile_context_free(context);
    if (code == NULL && pcre2_get_error_message(error, (PCRE2_UCHAR *)what, what_size) < 0) {
        what[0] = '\0';
    }
    return code;
}

static dyn_regex_t *
wrap(pcre2_code *code)
{
    dyn_regex_t *regex = dyn_zalloc(sizeof *regex);
    regex->code = code;
    return regex;
}

dyn_regex_t *
dyn_regex_new(struct dyn_slice pattern, unsigned *column, struct dyn_err *err)
{
    struct translation t = {.pattern = pattern, .out = DYN_BUF_INIT};
    if (pattern.len > DYN_REGEX_PATTERN_MAX) {
        (void)refuse(pattern, DYN_REGEX_PATTERN_MAX, "the expression is too long", column, err);
        return NULL;
    }
    char what[120];
    size_t offset = 0;
    pcre2_code *code = NULL;
    const char *wrong = translate(&t);
    if (wrong == NULL) {
        struct dyn_slice translated = dyn_slice(dyn_buf_cstr(&t.out), t.out.len);
        code =
            compile(translated, PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &offset, what, sizeof what);
        offset = offset > t.longer ? offset - t.longer : 0;
        wrong = what;
    } else {
        offset = t.at;
    }
    if (code == NULL) {
        (void)refuse(pattern, offset, wrong, column, err);
    }
    dyn_buf_fini(&t.out);
    dyn_regex_t *regex = code != NULL ? wrap(code) : NULL;
    if (regex != NULL) {
        regex->is_unbounded = t.is_unbounded;
        regex->moves_begin = t.moves_begin;
    }
    return regex;
}

dyn_regex_t *
dyn_regex_new_text(struct dyn_slice text, struct dyn_err *err)
{
    char what[120];
    size_t offset = 0;
    pcre2_code *code = compile(text, PCRE2_LITERAL | PCRE2_CASELESS, &offset, what, sizeof what);
    if (code == NULL) {
        (void)dyn_err_set(err, DYN_E_INVALID, "%s", what);
        return NULL;
    }
    return wrap(code);
}

void
dyn_regex_free(dyn_regex_t **regex_p)
{
    dyn_regex_t *regex = *regex_p;
    *regex_p = NULL;
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        free(regex);
    }
}

/* ---- searching ---- */

/* Memory for one search: its own piece first, which is enough for most. */
struct scratch {
    size_t used;
    _Alignas(16) char bytes[REGEX_SCRATCH];
};

static void *
scratch_take(size_t size, void *arg)
{
    struct scratch *scratch = arg;
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded > sizeof scratch->bytes - scratch->used) {
        return malloc(size); /* at most DYN_REGEX_HEAP_MAX: it may fail, and then there is no match */
    }
    void *taken = scratch->bytes + scratch->used;
    scratch->used += rounded;
    return taken;
}

static void
scratch_give(void *memory, void *arg)
{
    const struct scratch *scratch = arg;
    const char *bytes = memory;
    if (bytes < scratch->bytes || bytes >= scratch->bytes + sizeof scratch->bytes) {
        free(memory);
    }
}

static uint64_t
thread_us(void)
{
    struct timespec spent;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

/* Of a search under way. */
struct search {
    const dyn_regex_t *regex;
    struct dyn_slice text;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    struct dyn_regex_budget *budget;
    uint64_t timed_us; /* until when the budget was charged */
    size_t untimed;    /* batches since then */
    uint32_t at_end;   /* options of a search that sees all of the text */
};

/* The beginning of the character at or behind that byte. */
static size_t
place_behind(struct dyn_slice text, size_t at)
{
    while (at < text.len && ((unsigned char)text.data[at] & 0xC0) == 0x80) {
        at++;
    }
    return at;
}

static bool
has_time(struct search *search)
{
    uint64_t now_us = thread_us();
    uint64_t took_us = now_us - search->timed_us;
    search->timed_us = now_us;
    search->untimed = 0;
    search->budget->left_us -= took_us < search->budget->left_us ? took_us : search->budget->left_us;
    return search->budget->left_us > 0;
}

static int
match(const struct search *search, size_t len, size_t first, size_t last, uint32_t steps, uint32_t options)
{
    (void)pcre2_set_match_limit(search->limits, steps);
    (void)pcre2_set_offset_limit(search->limits, last);
    return pcre2_match(search->regex->code, (PCRE2_SPTR)search->text.data, len, first,
                       PCRE2_NO_UTF_CHECK | options, search->data, search->limits);
}

static enum dyn_regex_result
try_places(struct search *search, size_t first, size_t last)
{
    enum dyn_regex_result result = DYN_REGEX_NO;
    for (size_t at = first; at <= last && result == DYN_REGEX_NO; at = place_behind(search->text, at + 1)) {
        int rc = match(search, search->text.len, at, at, DYN_REGEX_STEPS_MAX, search->at_end);
        result = rc >= 0                     ? DYN_REGEX_YES
                 : rc == PCRE2_ERROR_NOMATCH ? DYN_REGEX_NO
                 : rc == PCRE2_ERROR_PARTIAL ? DYN_REGEX_PARTIAL
                                             : DYN_REGEX_LIMIT;
        if (result == DYN_REGEX_NO && !has_time(search)) {
            result = DYN_REGEX_LIMIT;
        }
    }
    return result;
}

/* Places from *first to `last`; moves *first behind those that are done with. */
static enum dyn_regex_result
search_batch(struct search *search, size_t *first, size_t last)
{
    size_t len = search->text.len;
    bool is_cut = len - last > REGEX_WINDOW;
    size_t seen = is_cut ? place_behind(search->text, last + REGEX_WINDOW) : len;
    int rc = match(search, seen, *first, last, REGEX_STEPS, is_cut ? PCRE2_PARTIAL_HARD : search->at_end);
    if (rc >= 0) {
        return DYN_REGEX_YES;
    }
    if (rc == PCRE2_ERROR_PARTIAL && !is_cut) {
        return DYN_REGEX_PARTIAL;
    }
    size_t begin = *first;
    size_t end = last;
    if (rc == PCRE2_ERROR_PARTIAL) { /* nothing matches before it */
        begin = end = pcre2_get_ovector_pointer(search->data)[0];
        begin = begin < *first ? *first : begin;
    }
    *first = place_behind(search->text, end + 1);
    return rc == PCRE2_ERROR_NOMATCH ? DYN_REGEX_NO : try_places(search, begin, end);
}

static enum dyn_regex_result
search_all(struct search *search, size_t first)
{
    enum dyn_regex_result result = DYN_REGEX_NO;
    size_t len = search->text.len;
    while (first <= len && result == DYN_REGEX_NO) {
        bool is_rest = len - first <= REGEX_WINDOW;
        result = search_batch(search, &first, is_rest ? len : first + REGEX_PLACES);
        bool is_due = result == DYN_REGEX_NO && first <= len && ++search->untimed >= REGEX_CLOCK_BATCHES;
        if (is_due && !has_time(search)) {
            result = DYN_REGEX_LIMIT;
        }
    }
    return result;
}

/* `place` may be NULL. */
static enum dyn_regex_result
run(const dyn_regex_t *regex, struct dyn_slice text, size_t from, uint32_t at_end,
    struct dyn_regex_place *place, struct dyn_regex_budget *budget)
{
    struct scratch scratch;
    scratch.used = 0;
    if (budget->left_us == 0) {
        return DYN_REGEX_LIMIT;
    }
    pcre2_general_context *memory = pcre2_general_context_create(scratch_take, scratch_give, &scratch);
    struct search search = {.regex = regex,
                            .text = text.data != NULL ? text : DYN_SLICE(""),
                            .data = pcre2_match_data_create(1, memory),
                            .limits = pcre2_match_context_create(memory),
                            .budget = budget,
                            .timed_us = thread_us(),
                            .at_end = at_end};
    (void)pcre2_set_depth_limit(search.limits, REGEX_DEPTH_MAX);
    (void)pcre2_set_heap_limit(search.limits, DYN_REGEX_HEAP_MAX / 1024);
    enum dyn_regex_result result = search_all(&search, from);
    if (place != NULL && (result == DYN_REGEX_YES || result == DYN_REGEX_PARTIAL)) {
        const size_t *found = pcre2_get_ovector_pointer(search.data);
        *place = (struct dyn_regex_place){found[0], result == DYN_REGEX_YES ? found[1] : text.len};
    }
    pcre2_match_context_free(search.limits);
    pcre2_match_data_free(search.data);
    pcre2_general_context_free(memory);
    return result;
}

enum dyn_regex_result
dyn_regex_search(const dyn_regex_t *regex, struct dyn_slice text, struct dyn_regex_budget *budget)
{
    return run(regex, text, 0, 0, NULL, budget);
}

enum dyn_regex_result
dyn_regex_find(const dyn_regex_t *regex, struct dyn_slice text, size_t from, bool more_follows,
               struct dyn_regex_place *place, struct dyn_regex_budget *budget)
{
    enum dyn_regex_result result =
        run(regex, text, from, more_follows ? PCRE2_PARTIAL_HARD : 0, place, budget);
    bool is_found = result == DYN_REGEX_YES || result == DYN_REGEX_PARTIAL;
    return is_found && more_follows && place->begin == text.len ? DYN_REGEX_NO : result;
}

/* A number of characters, to PCRE2. */
size_t
dyn_regex_lookbehind(const dyn_regex_t *regex)
{
    uint32_t characters = 0;
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_MAXLOOKBEHIND, &characters);
    return (size_t)characters * 4;
}

bool
dyn_regex_is_unbounded(const dyn_regex_t *regex)
{
    return regex->is_unbounded;
}

bool
dyn_regex_moves_begin(const dyn_regex_t *regex)
{
    return regex->moves_begin;
}

bool
dyn_regex_matches_empty(const dyn_regex_t *regex)
{
    uint32_t can = 0;
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &can);
    return can != 0;
}
