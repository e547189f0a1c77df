/* A forbidden phrase never leaves a gate, however its stream is cut and however late the votes come. */
#include "tests/unit/router/gate_scene.h"

enum { SAID = 6, UNITS = 400 };

/* What one channel says, and where the forbidden phrase begins in it; -1: it is not there. */
struct said {
    struct vote_channel id;
    struct dyn_buf text;
    struct dyn_buf masked;
    ptrdiff_t forbidden;
    size_t at; /* bytes told so far, and whether the second half of a pair is next */
    bool is_half;
};

static const char phrase[] = "Bad\xF0\x9F\x98\x80 w\xC3\xB6rd";

static void
say(struct dyn_rng *rng, struct said *said, bool with_phrase)
{
    static const char *const pieces[] = {
        "b",  "ba", "bad", "BAD\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", " ", "w", "\xC3\xB6", "hello ", "\"",
        "\\", "\n", "x",   "\xE6\x9D\xB1"};
    size_t n = dyn_rng_below(rng, 12);
    size_t where = dyn_rng_below(rng, n + 1);
    said->forbidden = -1;
    for (size_t i = 0; i <= n; i++) {
        if (i == where && with_phrase) {
            said->forbidden = (ptrdiff_t)said->text.len;
            dyn_buf_add_str(&said->text, phrase);
            dyn_buf_add_str(&said->masked, "***");
        }
        const char *piece = pieces[dyn_rng_below(rng, DYN_ARRAY_LEN(pieces))];
        dyn_buf_add_str(&said->text, piece);
        dyn_buf_add_str(&said->masked, piece);
    }
}

static void
put_unit(struct dyn_buf *out, unsigned unit)
{
    dyn_buf_addf(out, unit & 1 ? "\\u%04x" : "\\u%04X", unit);
}

/* One more UTF-16 unit of it as JSON, escaped or not: false when all was told. */
static bool
tell_unit(struct dyn_rng *rng, struct said *said, struct dyn_buf *out)
{
    const char *at = said->text.data + said->at;
    const char *end = said->text.data + said->text.len;
    if (at == end) {
        return false;
    }
    size_t len = dyn_utf8_len(at, end);
    uint32_t scalar = dyn_utf8_scalar(at, len);
    if (said->is_half) {
        put_unit(out, 0xDC00 + ((scalar - 0x10000) & 0x3FF));
        said->is_half = false;
    } else if (scalar >= 0x10000 && dyn_rng_below(rng, 2) == 0) {
        put_unit(out, 0xD800 + ((scalar - 0x10000) >> 10));
        said->is_half = true;
        return true;
    } else if (scalar < 0x10000 && dyn_rng_below(rng, 3) == 0) {
        put_unit(out, scalar);
    } else if (scalar == '"' || scalar == '\\') {
        dyn_buf_addf(out, "\\%c", (char)scalar);
    } else if (scalar == '\n') {
        dyn_buf_add_str(out, "\\n");
    } else {
        dyn_buf_add(out, at, len);
    }
    said->at += len;
    return true;
}

static bool
write_piece(struct dyn_rng *rng, struct said *said, struct dyn_buf *out)
{
    struct dyn_buf text = DYN_BUF_INIT;
    size_t units = 1 + dyn_rng_below(rng, 6);
    bool has_any = false;
    for (size_t i = 0; i < units && tell_unit(rng, said, &text); i++) {
        has_any = true;
    }
    dyn_buf_addf(out, "data: {\"id\":\"c\",\"choices\":[{\"index\":%u,\"delta\":{", said->id.choice);
    if (said->id.kind == VOTE_TEXT_TOOL_ARGUMENTS) {
        dyn_buf_addf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":\"%s\"}}]",
                     said->id.tool, dyn_buf_cstr(&text));
    } else {
        dyn_buf_addf(out, "\"%s\":\"%s\"", said->id.kind == VOTE_TEXT ? "content" : "reasoning_content",
                     dyn_buf_cstr(&text));
    }
    dyn_buf_add_str(out, "}}]}\n\n");
    dyn_buf_fini(&text);
    return has_any;
}

static void
write_stream(struct dyn_rng *rng, struct said *said, size_t n, struct dyn_buf *out)
{
    for (size_t quiet = 0; quiet < n;) {
        size_t who = dyn_rng_below(rng, n);
        if (!write_piece(rng, &said[who], out)) {
            quiet = 0;
            for (size_t i = 0; i < n; i++) {
                quiet += said[i].at == said[i].text.len;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        dyn_buf_addf(out, "data: {\"choices\":[{\"index\":%u,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                     said[i].id.choice);
    }
    dyn_buf_add_str(out, DONE_EVENT);
}

static void
play(struct dyn_rng *rng, struct scene *scene, struct dyn_slice stream)
{
    while (stream.len > 0) {
        size_t len = 1 + dyn_rng_below(rng, dyn_rng_below(rng, 2) == 0 ? 8 : 300);
        len = len < stream.len ? len : stream.len;
        feed(scene, dyn_slice(stream.data, len));
        stream.data += len;
        stream.len -= len;
        scene->now_us += dyn_rng_below(rng, 2000000);
        for (size_t i = 0; i < scene->n_voters; i++) {
            bool is_late = dyn_rng_below(rng, 3) != 0 && scene->voters[i].n_questions < QUESTIONS - 2;
            while (!is_late && scene->voters[i].n_questions > 0 && stream_gate_is_asked(scene->gate, i)) {
                vote_one(scene, i);
                is_late = dyn_rng_below(rng, 4) == 0;
            }
        }
    }
    vote_all(scene);
}

static void
check_channel(const struct said *said, const struct reader_channel *channels, bool masks, bool is_cut)
{
    struct dyn_slice text = {"", 0};
    for (size_t i = 0; i < CHANNELS && channels[i].is_used; i++) {
        if (channels[i].id.choice == said->id.choice && channels[i].id.kind == said->id.kind &&
            channels[i].id.tool == said->id.tool) {
            text = dyn_buf_slice(&channels[i].text);
        }
    }
    if (masks) {
        assert_true(dyn_slice_eq(text, dyn_buf_slice(&said->masked)));
        return;
    }
    size_t most = said->forbidden >= 0 ? (size_t)said->forbidden : said->text.len;
    assert_true(text.len <= most); /* not one byte of the phrase */
    assert_true(is_cut || text.len == said->text.len);
    assert_memory_equal(text.data, said->text.data != NULL ? said->text.data : "", text.len);
}

/* Three choices, their thoughts and the arguments of two calls, told in any order, in pieces cut between the
 * halves of characters, in chunks cut at every byte; two voters that answer late. */
static void
a_forbidden_phrase_never_leaves_in_any_split(void **state)
{
    (void)state;
    enum { ROUNDS = 5000 };
    static const struct vote_channel ids[SAID] = {
        {0, VOTE_TEXT, 0}, {0, VOTE_TEXT_TOOL_ARGUMENTS, 0}, {0, VOTE_TEXT_TOOL_ARGUMENTS, 1},
        {1, VOTE_TEXT, 0}, {1, VOTE_TEXT_REASONING, 0},      {2, VOTE_TEXT, 0}};
    struct dyn_rng rng;
    unsigned cut = 0;
    dyn_rng_seed(&rng, 20261123);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct said said[SAID] = {0};
        struct reader_channel channels[CHANNELS] = {0};
        struct dyn_buf stream = DYN_BUF_INIT;
        struct scene scene;
        bool masks = round % 4 == 1;
        size_t n = 1 + dyn_rng_below(&rng, SAID);
        size_t forbidden = dyn_rng_below(&rng, 3) == 0 ? SAID : dyn_rng_below(&rng, n);
        for (size_t i = 0; i < n; i++) {
            said[i].id = ids[i];
            say(&rng, &said[i], i == forbidden);
        }
        write_stream(&rng, said, n, &stream);
        scene_begin(&scene, 1 + round % 2, phrase, masks);
        play(&rng, &scene, dyn_buf_slice(&stream));
        bool is_cut = stream_gate_state(scene.gate) == STREAM_GATE_CUT;
        assert_int_equal(is_cut, forbidden < n && !masks);
        assert_true(is_cut || stream_gate_state(scene.gate) == STREAM_GATE_OPEN);
        assert_true(stream_gate_is_drained(scene.gate));
        read_all(dyn_buf_slice(&scene.out), channels);
        for (size_t i = 0; i < n; i++) {
            check_channel(&said[i], channels, masks, is_cut);
        }
        cut += is_cut;
        for (size_t i = 0; i < CHANNELS; i++) {
            dyn_buf_fini(&channels[i].text);
        }
        for (size_t i = 0; i < n; i++) {
            dyn_buf_fini(&said[i].text);
            dyn_buf_fini(&said[i].masked);
        }
        dyn_buf_fini(&stream);
        scene_end(&scene);
    }
    assert_true(cut > ROUNDS / 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forbidden_phrase_never_leaves_in_any_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
