/* Which requests are the same question. Any change of a member, at any depth, is another one; order, blanks
 * and the spelling of strings are not. */
#include "actors/plugins/answer_key.h"

#include "core/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

static const char *const body =
    "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be\"},{\"role\":\"user\",\"name\":"
    "\"n\","
    "\"content\":[{\"type\":\"text\",\"text\":\"hi\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https:"
    "//a/b\","
    "\"detail\":\"low\"}}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"type\":"
    "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
    "\"c\","
    "\"content\":\"r\"}],\"temperature\":0.5,\"top_p\":1,\"n\":2,\"seed\":0,\"max_tokens\":10,"
    "\"max_completion_tokens\":11,\"presence_penalty\":0,\"frequency_penalty\":1,\"stop\":[\"a\",\"b\"],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"x\":{}}}}],"
    "\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,\"response_format\":{\"type\":\"json_object\"},"
    "\"logprobs\":true,\"top_logprobs\":3,\"user\":\"u\",\"logit_bias\":{\"5\":-1},\"of_nobody\":[[],{},["
    "null,false]]}";

static struct answer_key
key_with(struct vote_facts *facts, const char *text)
{
    struct answer_key key;
    struct dyn_buf scratch = DYN_BUF_INIT;
    answer_key_of(facts, dyn_slice_str(text), &scratch, &key);
    dyn_buf_fini(&scratch);
    return key;
}

static struct vote_facts *
usual_facts(void)
{
    struct vote_facts *facts = vote_facts_new();
    facts->surface = ENV_SURFACE_CHAT;
    facts->dialect = DYN_SLICE("openai_chat");
    facts->model = DYN_SLICE("m");
    facts->key_id = DYN_SLICE("k");
    return facts;
}

static bool
same(const char *a, const char *b)
{
    struct vote_facts *facts = usual_facts();
    struct answer_key left = key_with(facts, a);
    struct answer_key right = key_with(facts, b);
    vote_facts_unref(&facts);
    return memcmp(&left, &right, sizeof left) == 0;
}

static void
form_does_not_matter(void **state)
{
    (void)state;
    assert_true(same("{\"a\":1,\"b\":{\"c\":2,\"d\":\"x\"}}",
                     " {\n\"b\" : {\"d\":\"\\u0078\", \"c\":2},\"\\u0061\":1}"));
    assert_true(same("{\"a\":1}", "{\"a\":1,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"));
    assert_true(same("{\"a\":1,\"model\":\"m\"}", "{\"a\":1,\"model\":\"alias-of-m\"}"));
    assert_false(same("{\"a\":{\"stream\":true}}", "{\"a\":{}}"));
    assert_false(same("{\"a\":{\"model\":\"x\"}}", "{\"a\":{\"model\":\"y\"}}"));
}

static void
values_are_told_apart(void **state)
{
    (void)state;
    static const char *const all[] = {
        "{}",
        "{\"a\":null}",
        "{\"a\":0}",
        "{\"a\":0.0}",
        "{\"a\":\"0\"}",
        "{\"a\":false}",
        "{\"a\":[]}",
        "{\"a\":{}}",
        "{\"a\":[0]}",
        "{\"a\":[[0]]}",
        "{\"a\":[[],[]]}",
        "{\"a\":[[[]]]}",
        "{\"a\":\"\"}",
        "{\"a\":\"null\"}",
        "{\"ab\":\"\",\"c\":\"\"}",
        "{\"a\":\"\",\"bc\":\"\"}",
        "{\"a\":[\"x\",\"y\"]}",
        "{\"a\":[\"y\",\"x\"]}",
        "{\"a\":[\"xy\"]}",
        "{\"a\":[\"x\"],\"b\":[\"y\"]}",
        "{\"a\":\"\\u00e9\"}",
        "{\"a\":\"e\\u0301\"}",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(all); i++) {
        for (size_t k = 0; k < i; k++) {
            if (same(all[i], all[k])) {
                fail_msg("%s is taken for %s", all[i], all[k]);
            }
        }
    }
}

/* Each value in the tree, whatever its depth, is changed, removed, and given a neighbour. */
struct changing {
    cJSON *root;
    struct vote_facts *facts;
    struct answer_key key;
    unsigned n;
};

static void
expect_another(struct changing *c, const char *how, const char *name)
{
    char *text = cJSON_PrintUnformatted(c->root);
    struct answer_key key = key_with(c->facts, text);
    if (memcmp(&key, &c->key, sizeof key) == 0) {
        fail_msg("%s %s: the same key", how, name != NULL ? name : "an item");
    }
    cJSON_free(text);
    c->n++;
}

static void
change_value(struct changing *c, cJSON *item)
{
    cJSON saved = *item;
    if (cJSON_IsString(item)) {
        char other[256];
        (void)snprintf(other, sizeof other, "%s.", item->valuestring);
        item->valuestring = other;
        expect_another(c, "longer", item->string);
        *item = saved;
    } else if (cJSON_IsNumber(item)) {
        item->valuedouble += 1;
        item->valueint += 1;
        expect_another(c, "more", item->string);
        *item = saved;
    }
    item->type = (item->type & ~0xFF) | (cJSON_IsTrue(item) ? cJSON_False : cJSON_True);
    item->child = NULL;
    expect_another(c, "another type of", item->string);
    *item = saved;
}

static void
change_children(struct changing *c, cJSON *parent)
{
    for (int i = 0; i < cJSON_GetArraySize(parent); i++) {
        cJSON *item = cJSON_GetArrayItem(parent, i);
        bool counts = item->string == NULL || strcmp(item->string, "model") != 0;
        if (counts) {
            change_value(c, item);
            cJSON *copy = cJSON_Duplicate(parent, 1);
            cJSON saved = *parent;
            parent->child = copy->child;
            cJSON_DeleteItemFromArray(parent, i);
            expect_another(c, "without", item->string);
            copy->child = parent->child;
            *parent = saved;
            cJSON_Delete(copy);
        }
        change_children(c, item);
    }
    if (cJSON_IsObject(parent)) {
        cJSON_AddItemToObject(parent, "never heard of", cJSON_CreateNull());
        expect_another(c, "a member more in", parent->string);
        cJSON_DeleteItemFromObjectCaseSensitive(parent, "never heard of");
    } else if (cJSON_IsArray(parent)) {
        cJSON_AddItemToArray(parent, cJSON_CreateString(""));
        expect_another(c, "an item more in", parent->string);
        cJSON_DeleteItemFromArray(parent, cJSON_GetArraySize(parent) - 1);
    }
}

static void
whatever_changes_the_answer_changes_the_key(void **state)
{
    (void)state;
    struct changing c = {.root = cJSON_Parse(body), .facts = usual_facts()};
    assert_non_null(c.root);
    char *text = cJSON_PrintUnformatted(c.root);
    c.key = key_with(c.facts, text);
    cJSON_free(text);
    change_children(&c, c.root);
    assert_true(c.n > 150);
    text = cJSON_PrintUnformatted(c.root);
    struct answer_key again = key_with(c.facts, text);
    assert_memory_equal(&again, &c.key, sizeof again);
    cJSON_free(text);
    cJSON_Delete(c.root);
    vote_facts_unref(&c.facts);
}

static void
who_asks_and_where_count(void **state)
{
    (void)state;
    struct env_header headers[] = {{DYN_SLICE("x-dynabus-target"), DYN_SLICE("a")},
                                   {DYN_SLICE("x-tier"), DYN_SLICE("b")}};
    struct env_header swapped[] = {headers[1], {DYN_SLICE("cache-control"), DYN_SLICE("x")}, headers[0]};
    struct vote_facts *facts = usual_facts();
    struct answer_key keys[8];
    size_t n = 0;
    keys[n++] = key_with(facts, "{}");
    facts->key_id = DYN_SLICE("k2");
    keys[n++] = key_with(facts, "{}");
    facts->model = DYN_SLICE("m2");
    keys[n++] = key_with(facts, "{}");
    facts->key_id = DYN_SLICE("k"), facts->model = DYN_SLICE("2m2");
    keys[n++] = key_with(facts, "{}");
    facts->dialect = DYN_SLICE("another");
    keys[n++] = key_with(facts, "{}");
    facts->surface = ENV_SURFACE_EMBEDDINGS;
    keys[n++] = key_with(facts, "{}");
    facts->headers = headers, facts->n_headers = 1;
    keys[n++] = key_with(facts, "{}");
    facts->n_headers = 2;
    keys[n++] = key_with(facts, "{}");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_memory_not_equal(&keys[i], &keys[k], sizeof keys[i]);
        }
    }
    facts->headers = swapped, facts->n_headers = 3;
    struct answer_key same_key = key_with(facts, "{}");
    assert_memory_equal(&same_key, &keys[n - 1], sizeof same_key);
    vote_facts_unref(&facts);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(form_does_not_matter),
        cmocka_unit_test(values_are_told_apart),
        cmocka_unit_test(whatever_changes_the_answer_changes_the_key),
        cmocka_unit_test(who_asks_and_where_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
