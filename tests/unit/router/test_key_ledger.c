/* Keys that a ledger keeps, as one router sees them: a ledger of one's own making answers. */
#include "core/clock.h"
#include "router/key_rows.h"
#include "router/key_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 40 };

/* Keeps rows as 06-LEDGER says, a few in each answer. */
struct ledger {
    struct key_record records[KEYS];
    char ids[KEYS][KEY_ID_LEN + 1];
    uint64_t versions[KEYS];
    uint64_t deleted_us[KEYS];
    uint64_t uses[KEYS];
    size_t n;
    uint64_t version;
    size_t page; /* rows in an answer */
    bool is_gone;
    bool is_endless;
    bool spoils; /* the scopes of the first key are nonsense */
    size_t asked;
    size_t audits;
};

/* The world of one test. */
struct scene {
    struct ledger ledger;
    key_ring_t *ring;
    struct key_store store;
};

static void
answer_keys(struct ledger *ledger, uint64_t since, struct ledger_message *answer, struct dyn_buf *rows)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    answer->version = since;
    for (uint64_t version = since + 1; version <= ledger->version; version++) {
        for (size_t i = 0; i < ledger->n; i++) {
            struct ledger_row row = {.table = LEDGER_API_KEYS};
            if (ledger->versions[i] != version) {
                continue;
            }
            if (answer->n_rows == ledger->page) {
                answer->more = 1;
                arena_fini(&arena);
                return;
            }
            if (ledger->deleted_us[i] != 0) {
                key_row_fill_deleted(ledger->records[i].id, ledger->deleted_us[i] / 1000, &row.of.api_key);
            } else {
                key_row_fill(&ledger->records[i], &arena, &row.of.api_key);
            }
            row.of.api_key.version = version;
            row.of.api_key.usage_count = ledger->uses[i];
            row.of.api_key.scopes =
                ledger->spoils && i == 0 ? DYN_SLICE("[\"root\"]") : row.of.api_key.scopes;
            ledger_row_encode(&row, rows);
            answer->n_rows++;
        }
        answer->version = version;
    }
    answer->version = ledger->version;
    answer->more = ledger->is_endless;
    arena_fini(&arena);
}

static uint16_t
take_put(struct ledger *ledger, const struct ledger_message *question, struct ledger_message *answer)
{
    struct mp_cursor rows = mp_cursor(question->rows);
    struct ledger_row row;
    answer->version = ledger->version;
    if (question->if_version != 0 && question->if_version != ledger->version) {
        return 409;
    }
    while (ledger_row_next(&rows, &row)) {
        ledger->audits += row.table == LEDGER_AUDIT;
        for (size_t i = 0; i < ledger->n && row.table == LEDGER_API_KEYS; i++) {
            if (dyn_slice_eq(ledger->records[i].id, row.of.api_key.id)) {
                ledger->versions[i] = ++ledger->version;
                ledger->deleted_us[i] = row.of.api_key.deleted_us;
                ledger->records[i].revoked_ms = row.of.api_key.revoked_us / 1000;
            }
        }
    }
    answer->version = ledger->version;
    return 200;
}

static int
ask(void *self, const struct ledger_message *question, dyn_block_t **out, uint16_t *status,
    struct dyn_err *err)
{
    struct ledger *ledger = self;
    struct ledger_message answer = {.n_rows = 0};
    struct dyn_buf rows = DYN_BUF_INIT;
    ledger->asked++;
    if (ledger->is_gone) {
        return dyn_err_set(err, DYN_E_GONE, "nobody is there");
    }
    *status = 200;
    if (dyn_slice_is(question->op, "keys")) {
        answer_keys(ledger, question->since, &answer, &rows);
    } else {
        *status = take_put(ledger, question, &answer);
    }
    answer.rows = dyn_buf_slice(&rows);
    *out = ledger_message_encode(&answer);
    dyn_buf_fini(&rows);
    return 0;
}

static void
add_key(struct ledger *ledger, const char *name)
{
    size_t i = ledger->n++;
    char text[KEY_TEXT_SIZE];
    key_id_new(ledger->ids[i]);
    ledger->records[i] = (struct key_record){.id = dyn_slice(ledger->ids[i], KEY_ID_LEN),
                                             .name = dyn_slice_str(name),
                                             .scopes = KEY_SCOPE_INFERENCE,
                                             .created_ms = 1764000000000 + i};
    key_secret_new(&ledger->records[i], text);
    ledger->versions[i] = ++ledger->version;
}

static void
scene_begin(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->ledger.page = 7;
    scene->ring = key_ring_new(1000000);
    scene->store = key_ledger_new(scene->ring);
    struct key_courier courier = {.ask = ask, .self = &scene->ledger};
    key_ledger_set_courier(&scene->store, &courier);
}

static void
scene_end(struct scene *scene)
{
    scene->store.ops->close(scene->store.self);
    key_ring_free(&scene->ring);
}

/* As the keys actor does. -1: the table stays. */
static int
look(struct scene *scene)
{
    struct arena arena;
    struct key_record *records;
    size_t n;
    struct dyn_err err;
    if (!scene->store.ops->has_changed(scene->store.self)) {
        return -1;
    }
    key_table_t *former = key_ring_get(scene->ring);
    arena_init(&arena, NULL, 0);
    assert_int_equal(scene->store.ops->load(scene->store.self, former, &arena, &records, &n, &err), 0);
    key_table_t *table = key_table_new(records, n, 1, former, &err);
    assert_non_null(table);
    key_ring_set(scene->ring, &table);
    key_table_unref(&former);
    arena_fini(&arena);
    return 0;
}

static size_t
count(const struct scene *scene)
{
    key_table_t *table = key_ring_get(scene->ring);
    size_t n = table != NULL ? key_table_count(table) : 0;
    key_table_unref(&table);
    return n;
}

static bool
has(const struct scene *scene, size_t i)
{
    key_table_t *table = key_ring_get(scene->ring);
    bool found = key_table_find(table, scene->ledger.records[i].id) != NULL;
    key_table_unref(&table);
    return found;
}

static enum key_stored
put(struct scene *scene, size_t i)
{
    struct ledger_audit audit = {.id = DYN_SLICE("a"), .occurred_us = 1};
    struct dyn_err err;
    return scene->store.ops->put(scene->store.self, &scene->ledger.records[i], NULL, &audit, &err);
}

static void
all_are_told_and_then_what_is_new(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene);
    assert_int_equal(look(&scene), 0); /* there are none, which is known now */
    assert_true(key_ring_has_table(scene.ring));
    assert_int_equal(look(&scene), -1);
    for (int i = 0; i < 30; i++) {
        add_key(&scene.ledger, "one of many");
    }
    scene.ledger.asked = 0;
    assert_int_equal(look(&scene), 0);
    assert_int_equal(scene.ledger.asked, 5); /* seven at a time */
    assert_int_equal(count(&scene), 30);
    assert_int_equal(look(&scene), -1);
    scene.ledger.versions[4] = ++scene.ledger.version; /* somebody else deletes one and makes one */
    scene.ledger.deleted_us[4] = 1000000;
    add_key(&scene.ledger, "new");
    assert_int_equal(look(&scene), 0);
    assert_int_equal(count(&scene), 30);
    assert_false(has(&scene, 4));
    assert_true(has(&scene, 30));
    key_table_t *table = key_ring_get(scene.ring);
    assert_true(dyn_slice_is(key_table_at(table, 29)->name, "new")); /* by age */
    key_table_unref(&table);
    scene_end(&scene);
}

/* Rows go through JSON and back. */
static void
a_key_is_the_same_behind_the_ledger(void **state)
{
    (void)state;
    struct scene scene;
    static const struct dyn_slice names[] = {DYN_SLICE_INIT("gpt-\"4o\""), DYN_SLICE_INIT("small-*")};
    scene_begin(&scene);
    add_key(&scene.ledger, "R\xC3\xA9my \"the\\cook\"");
    struct key_record *record = &scene.ledger.records[0];
    record->models = (struct key_list){names, 2};
    record->targets = (struct key_list){names + 1, 1};
    record->limits = (struct key_limits){.requests_per_day = 3, .tokens_per_minute = 4};
    record->budget = (struct key_budget){.week = 250000000000};
    record->group = DYN_SLICE("blue");
    record->metadata = DYN_SLICE("{\"a\":[1]}");
    record->expires_ms = 1764000000123;
    record->revoked_ms = 1764000001000;
    record->rotated_ms = 1764000002000;
    scene.ledger.uses[0] = 17;
    assert_int_equal(look(&scene), 0);
    key_table_t *table = key_ring_get(scene.ring);
    const struct key_record *read = key_table_at(table, 0);
    assert_memory_equal(read->salt, record->salt, sizeof read->salt);
    assert_memory_equal(read->digest, record->digest, sizeof read->digest);
    assert_string_equal(read->tail, record->tail);
    assert_true(dyn_slice_eq(read->name, record->name) && dyn_slice_eq(read->group, record->group));
    assert_true(dyn_slice_eq(read->metadata, record->metadata));
    assert_int_equal(read->models.n, 2);
    assert_true(dyn_slice_eq(read->models.items[0], names[0]) && read->targets.n == 1);
    assert_memory_equal(&read->limits, &record->limits, sizeof read->limits);
    assert_memory_equal(&read->budget, &record->budget, sizeof read->budget);
    assert_int_equal(read->expires_ms, record->expires_ms);
    assert_int_equal(read->revoked_ms, record->revoked_ms);
    assert_int_equal(read->rotated_ms, record->rotated_ms);
    assert_int_equal(atomic_load(&read->uses->count), 17);
    key_table_unref(&table);
    scene_end(&scene);
}

/* Who decided about keys that are not the ledger's any more decides again; the audit goes with the change. */
static void
two_who_change_keys_do_not_undo_each_other(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene);
    add_key(&scene.ledger, "first");
    add_key(&scene.ledger, "second");
    assert_int_equal(look(&scene), 0);
    assert_int_equal(put(&scene, 0), KEY_STORED);
    assert_int_equal(scene.ledger.audits, 1);
    assert_int_equal(look(&scene), -1); /* its own change is no news */
    scene.ledger.versions[1] = ++scene.ledger.version;
    assert_int_equal(put(&scene, 0), KEY_STORE_MOVED);
    assert_int_equal(scene.ledger.audits, 1);
    assert_int_equal(look(&scene), 0);
    assert_int_equal(put(&scene, 0), KEY_STORED);
    scene.ledger.is_gone = true;
    assert_int_equal(put(&scene, 0), KEY_NOT_STORED);
    scene_end(&scene);
}

/* Fewer versions than are known: another file under the same name. Nothing of the old one is good. */
static void
another_store_is_taken_whole(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene);
    for (int i = 0; i < 20; i++) {
        add_key(&scene.ledger, "old");
    }
    assert_int_equal(look(&scene), 0);
    memset(&scene.ledger, 0, sizeof scene.ledger);
    scene.ledger.page = 7;
    assert_int_equal(look(&scene), 0);
    assert_int_equal(count(&scene), 0);
    add_key(&scene.ledger, "new");
    assert_int_equal(look(&scene), 0);
    assert_int_equal(count(&scene), 1);
    scene_end(&scene);
}

/* One that can't be read could be one that was revoked. */
static void
a_key_that_can_not_be_read_is_none(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene);
    add_key(&scene.ledger, "first");
    add_key(&scene.ledger, "second");
    assert_int_equal(look(&scene), 0);
    scene.ledger.spoils = true;
    scene.ledger.versions[0] = ++scene.ledger.version;
    assert_int_equal(look(&scene), 0);
    assert_int_equal(count(&scene), 1);
    assert_true(has(&scene, 1));
    scene_end(&scene);
}

/* Only what the ledger has confirmed is fresh, and a lie without end confirms nothing. */
static void
what_is_not_confirmed_gets_old(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene);
    add_key(&scene.ledger, "first");
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    assert_false(key_ring_is_fresh(scene.ring, now_us));
    assert_int_equal(look(&scene), 0);
    assert_true(key_ring_is_fresh(scene.ring, now_us));
    uint64_t late_us = dyn_mono_us(&dyn_clock_system) + 1000000;
    assert_false(key_ring_is_fresh(scene.ring, late_us));
    scene.ledger.is_gone = true;
    assert_int_equal(look(&scene), -1);
    scene.ledger.is_gone = false;
    scene.ledger.is_endless = true;
    assert_int_equal(look(&scene), -1);
    assert_false(key_ring_is_fresh(scene.ring, late_us));
    assert_int_equal(count(&scene), 1);
    scene_end(&scene);
}

/* What this process told the ledger of is in what the ledger says, sooner or later: nothing counts twice. */
static void
uses_of_all_processes_add_up(void **state)
{
    (void)state;
    struct key_uses uses = {.count = 10, .others = 10};
    (void)atomic_fetch_add(&uses.count, 5);
    key_uses_hear(&uses, 10, 0);
    assert_int_equal(atomic_load(&uses.count), 15);
    assert_int_equal(key_uses_tell(&uses), 5);
    assert_int_equal(key_uses_tell(&uses), 0);
    key_uses_hear(&uses, 10, 0); /* not written yet */
    assert_int_equal(atomic_load(&uses.count), 15);
    key_uses_hear(&uses, 15, 77); /* written */
    assert_int_equal(atomic_load(&uses.count), 15);
    key_uses_hear(&uses, 18, 70); /* others counted three */
    assert_int_equal(atomic_load(&uses.count), 18);
    assert_int_equal(atomic_load(&uses.last_ms), 77);
    (void)atomic_fetch_add(&uses.count, 2);
    assert_int_equal(key_uses_tell(&uses), 2);
    key_uses_hear(&uses, 20, 0);
    assert_int_equal(atomic_load(&uses.count), 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_told_and_then_what_is_new),
        cmocka_unit_test(a_key_is_the_same_behind_the_ledger),
        cmocka_unit_test(two_who_change_keys_do_not_undo_each_other),
        cmocka_unit_test(another_store_is_taken_whole),
        cmocka_unit_test(a_key_that_can_not_be_read_is_none),
        cmocka_unit_test(what_is_not_confirmed_gets_old),
        cmocka_unit_test(uses_of_all_processes_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
