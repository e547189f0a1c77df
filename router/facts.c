#include "router/facts.h"

#include "core/buf.h"
#include "core/json_scan.h"
#include "core/token_guess.h"

/* Rough figures, the same for all models: they rank targets and set money aside, and nobody is billed by
 * them. */
enum {
    IMAGE_TOKENS = 765, /* of a square of 1024 points in high detail */
    IMAGE_LOW_TOKENS = 85,
};

struct reader {
    struct route_facts *facts;
    struct arena *arena;
    uint32_t needs;
    uint64_t guessed; /* TOKEN_GUESS_UNIT for a token */
    uint64_t image_tokens;
    struct dyn_slice *texts;
    size_t texts_cap;
};

/* ---- texts ---- */

/* Without decoding: an escape stands for one to four bytes. */
static uint64_t
text_bytes(struct json_value text)
{
    const char *at = text.raw.data + 1;
    const char *end = text.raw.data + text.raw.len - 1;
    uint64_t n = (uint64_t)(end - at);
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        bool is_unicode = at[1] == 'u';
        n -= is_unicode ? 4 : 1; /* two bytes are what most letters beyond ASCII take */
        at += is_unicode ? 6 : 2;
    }
    return n;
}

static struct dyn_slice
decode(struct reader *reader, struct json_value text)
{
    struct dyn_slice plain = json_string_plain(text);
    if (plain.data != NULL) {
        return plain;
    }
    /* What is decoded is never longer, so the buffer does not grow. */
    struct dyn_buf out = {.data = arena_alloc(reader->arena, text.raw.len), .cap = text.raw.len};
    json_string_decode(text, &out);
    return dyn_buf_slice(&out);
}

static void
keep_text(struct reader *reader, struct json_value text)
{
    struct route_facts *facts = reader->facts;
    if (facts->n_user_texts == reader->texts_cap) {
        size_t cap = reader->texts_cap > 0 ? reader->texts_cap * 2 : 16;
        struct dyn_slice *more = arena_alloc(reader->arena, cap * sizeof *more);
        if (facts->n_user_texts > 0) {
            memcpy(more, reader->texts, facts->n_user_texts * sizeof *more);
        }
        reader->texts = more;
        reader->texts_cap = cap;
    }
    reader->texts[facts->n_user_texts++] = decode(reader, text);
    facts->user_texts = reader->texts;
}

static void
take_text(struct reader *reader, struct json_value text, bool is_user)
{
    if (text.type != JSON_STRING) {
        return;
    }
    reader->guessed += token_guess(dyn_slice(text.raw.data + 1, text.raw.len - 2));
    reader->facts->input_bytes += text_bytes(text);
    if (is_user && (reader->needs & ROUTE_NEEDS_TEXT) != 0) {
        keep_text(reader, text);
    }
}

/* ---- messages ---- */

/* What else of a message the model reads: calls of tools and their arguments, thoughts, names. A guess by
 * their length; money is set aside by it. */
static void
take_other(struct reader *reader, struct json_value value)
{
    reader->guessed += value.type == JSON_NULL ? 0 : token_guess(value.raw);
}

static void
take_image(struct reader *reader, struct json_value image)
{
    struct json_value detail;
    struct json_value url;
    bool is_low =
        image.type == JSON_OBJECT && json_find(image, "detail", &detail) && json_string_is(detail, "low");
    if (image.type == JSON_OBJECT && json_find(image, "url", &url) && url.type == JSON_STRING) {
        reader->facts->input_bytes += text_bytes(url);
    }
    reader->facts->has_images = true;
    reader->image_tokens += is_low ? IMAGE_LOW_TOKENS : IMAGE_TOKENS;
}

static void
read_part(struct reader *reader, struct json_value part, bool is_user)
{
    struct json_iter members = json_iter(part);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (json_key_is(&member, "text")) {
            take_text(reader, member.value, is_user);
        } else if (json_key_is(&member, "image_url")) {
            take_image(reader, member.value);
        } else if (json_key_is(&member, "refusal") || json_key_is(&member, "thinking")) {
            take_other(reader, member.value);
        }
    }
}

static void
read_content(struct reader *reader, struct json_value content, bool is_user)
{
    if (content.type == JSON_STRING) {
        take_text(reader, content, is_user);
        return;
    }
    struct json_iter parts = json_iter(content);
    for (struct json_member part; content.type == JSON_ARRAY && json_iter_next(&parts, &part);) {
        read_part(reader, part.value, is_user);
    }
}

static void
read_messages(struct reader *reader, struct json_walk *messages)
{
    for (struct json_member message; json_walk_next(messages, &message);) {
        reader->facts->n_messages++;
        struct json_value role = {.type = JSON_NULL};
        struct json_value content = {.type = JSON_NULL};
        struct json_walk members = json_walk_into(messages, &message);
        for (struct json_member member; json_walk_next(&members, &member);) {
            (void)json_walk_value(&members, &member);
            if (json_key_is(&member, "role")) {
                role = member.value;
            } else if (json_key_is(&member, "content")) {
                content = member.value;
            } else if (!json_key_is(&member, "images")) {
                take_other(reader, member.value);
            }
        }
        read_content(reader, content, role.type == JSON_STRING && json_string_is(role, "user"));
    }
}

/* ---- the rest of a request ---- */

/* Of embeddings: a text, or several, or tokens. */
static void
read_input(struct reader *reader, struct json_value input)
{
    take_text(reader, input, false);
    struct json_iter items = json_iter(input);
    for (struct json_member item; input.type == JSON_ARRAY && json_iter_next(&items, &item);) {
        take_text(reader, item.value, false);
        reader->guessed += item.value.type == JSON_NUMBER ? TOKEN_GUESS_UNIT : 0;
    }
}

static void
read_metadata(struct reader *reader, struct json_value metadata)
{
    size_t n = 0;
    struct json_iter members = json_iter(metadata);
    for (struct json_member member; json_iter_next(&members, &member);) {
        n += member.value.type == JSON_STRING;
    }
    struct route_pair *pairs = arena_alloc(reader->arena, (n + 1) * sizeof *pairs);
    n = 0;
    members = json_iter(metadata);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (member.value.type == JSON_STRING) {
            struct json_value key = {JSON_STRING, dyn_slice(member.key.data - 1, member.key.len + 2)};
            pairs[n++] = (struct route_pair){decode(reader, key), decode(reader, member.value)};
        }
    }
    reader->facts->metadata = pairs;
    reader->facts->n_metadata = n;
}

static void
read_tools(struct reader *reader, struct json_value tools)
{
    struct json_iter items = json_iter(tools);
    struct json_member first;
    if (tools.type == JSON_ARRAY && json_iter_next(&items, &first)) {
        reader->facts->has_tools = true;
        reader->guessed += token_guess(tools.raw);
    }
}

static uint64_t
read_limit(struct json_value value)
{
    double real = 0;
    if (value.type != JSON_NUMBER || json_double(value, &real) != 0 || real <= 0) {
        return 0;
    }
    return real < (double)INT64_MAX ? (uint64_t)real : (uint64_t)INT64_MAX;
}

static void
read_member(struct reader *reader, const struct json_member *member)
{
    struct json_value value = member->value;
    if (json_key_is(member, "input")) {
        read_input(reader, value);
    } else if (json_key_is(member, "tools") || json_key_is(member, "functions")) {
        read_tools(reader, value);
    } else if (json_key_is(member, "response_format") || json_key_is(member, "prediction")) {
        take_other(reader, value);
    } else if (json_key_is(member, "metadata") && value.type == JSON_OBJECT) {
        read_metadata(reader, value);
    } else if (json_key_is(member, "user") && value.type == JSON_STRING) {
        reader->facts->user = decode(reader, value);
    } else if (json_key_is(member, "max_tokens")) {
        reader->facts->max_tokens = read_limit(value);
    } else if (json_key_is(member, "max_completion_tokens")) {
        reader->facts->max_completion_tokens = read_limit(value);
    }
}

void
route_facts_read(struct route_facts *facts, struct dyn_slice body, const struct json_places *places,
                 uint32_t needs, struct arena *arena)
{
    struct reader reader = {.facts = facts, .arena = arena, .needs = needs};
    if ((needs & (ROUTE_NEEDS_BODY | ROUTE_NEEDS_TEXT)) == 0) {
        return;
    }
    while (body.len > 0 && body.data[0] != '{') {
        body = dyn_slice(body.data + 1, body.len - 1);
    }
    while (body.len > 0 && body.data[body.len - 1] != '}') {
        body.len--;
    }
    struct json_walk members = json_walk_places(places, (struct json_value){JSON_OBJECT, body});
    for (struct json_member member; json_walk_next(&members, &member);) {
        if (member.value.type == JSON_ARRAY && json_key_is(&member, "messages")) {
            struct json_walk messages = json_walk_into(&members, &member);
            read_messages(&reader, &messages);
            continue;
        }
        (void)json_walk_value(&members, &member);
        read_member(&reader, &member);
    }
    facts->prompt_tokens = reader.guessed / TOKEN_GUESS_UNIT + 1 + reader.image_tokens;
}

struct dyn_slice
route_facts_header(const struct route_facts *facts, struct dyn_slice name)
{
    for (size_t i = 0; i < facts->n_headers; i++) {
        if (dyn_slice_ieq(facts->headers[i].name, name)) {
            return facts->headers[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}

struct dyn_slice
route_facts_metadata(const struct route_facts *facts, struct dyn_slice name)
{
    for (size_t i = 0; i < facts->n_metadata; i++) {
        if (dyn_slice_eq(facts->metadata[i].name, name)) {
            return facts->metadata[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}
