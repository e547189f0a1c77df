/* Tables swapped under cells that use them, and the file that keeps them. */
#include "router/key_ring.h"
#include "router/key_store.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void
set_one(key_ring_t *ring, struct key_record *record, uint64_t version)
{
    key_table_t *former = key_ring_get(ring);
    key_table_t *table = key_table_new(record, record != NULL, version, former, NULL);
    key_table_unref(&former);
    key_ring_set(ring, &table);
}

/* What is known at sight is forgotten with its table; a request keeps the one that admitted it. */
static void
a_swapped_table_is_seen_at_once(void **state)
{
    (void)state;
    key_ring_t *ring = key_ring_new(0);
    struct key_cell cell;
    struct key_record record = {.id = DYN_SLICE("0123456789abcdef"), .name = DYN_SLICE("first")};
    char text[KEY_TEXT_SIZE];
    key_secret_new(&record, text);
    struct dyn_slice credential = dyn_slice(text, KEY_TEXT_LEN);
    key_cell_init(&cell, ring);
    assert_null(key_cell_verify(&cell, credential));
    set_one(ring, &record, 1);
    const struct key_record *first = key_cell_verify(&cell, credential);
    assert_non_null(first);
    assert_ptr_equal(key_cell_verify(&cell, credential), first);
    struct key_view *kept = key_view_ref(cell.view);
    set_one(ring, NULL, 2);
    assert_null(key_cell_verify(&cell, credential));
    assert_true(dyn_slice_is(first->name, "first"));
    key_view_unref(&kept);
    key_cell_fini(&cell);
    key_ring_free(&ring);
}

/* As before, with the known text changed in each byte: nothing but the whole text is known. */
static void
what_is_known_is_known_whole(void **state)
{
    (void)state;
    key_ring_t *ring = key_ring_new(0);
    struct key_cell cell;
    struct key_record record = {.id = DYN_SLICE("0123456789abcdef")};
    char text[KEY_TEXT_SIZE];
    key_secret_new(&record, text);
    key_cell_init(&cell, ring);
    set_one(ring, &record, 1);
    for (size_t i = 0; i < KEY_TEXT_LEN; i++) {
        assert_non_null(key_cell_verify(&cell, dyn_slice(text, KEY_TEXT_LEN)));
        text[i] ^= 1;
        assert_null(key_cell_verify(&cell, dyn_slice(text, KEY_TEXT_LEN)));
        text[i] ^= 1;
    }
    key_cell_fini(&cell);
    key_ring_free(&ring);
}

enum { SWAPS = 2000 };

struct user {
    key_ring_t *ring;
    struct dyn_slice credential;
    atomic_bool is_over;
    size_t found;
    size_t not_found;
};

static void *
use(void *arg)
{
    struct user *user = arg;
    struct key_cell cell;
    key_cell_init(&cell, user->ring);
    while (!atomic_load(&user->is_over)) {
        const struct key_record *record = key_cell_verify(&cell, user->credential);
        if (record != NULL) {
            user->found += atomic_fetch_add(&record->uses->count, 1) < UINT64_MAX;
        } else {
            user->not_found++;
        }
    }
    key_cell_fini(&cell);
    return NULL;
}

static void
cells_use_what_is_swapped_under_them(void **state)
{
    (void)state;
    key_ring_t *ring = key_ring_new(0);
    struct key_record record = {.id = DYN_SLICE("0123456789abcdef")};
    char text[KEY_TEXT_SIZE];
    key_secret_new(&record, text);
    set_one(ring, &record, 1);
    struct user users[2];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        users[i] = (struct user){.ring = ring, .credential = dyn_slice(text, KEY_TEXT_LEN)};
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    }
    for (uint64_t i = 0; i < SWAPS; i++) {
        set_one(ring, i % 4 == 3 ? NULL : &record, i + 2);
    }
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&users[i].is_over, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    key_ring_free(&ring);
}

/* ---- the file ---- */

struct folder {
    char path[64];
    char file[96];
};

static struct folder
new_folder(void)
{
    struct folder folder = {.path = "/tmp/dynabus-keys-XXXXXX"};
    assert_non_null(mkdtemp(folder.path));
    (void)snprintf(folder.file, sizeof folder.file, "%s/keys.jsonl", folder.path);
    return folder;
}

static void
remove_folder(const struct folder *folder)
{
    char path[128];
    (void)unlink(folder->file);
    (void)snprintf(path, sizeof path, "%s.lock", folder->file);
    (void)unlink(path);
    assert_int_equal(rmdir(folder->path), 0);
}

static size_t
load(struct key_store *store, int expected)
{
    struct arena arena;
    struct key_record *records = NULL;
    struct dyn_err err = {.text = ""};
    size_t n = 0;
    arena_init(&arena, NULL, 0);
    assert_int_equal(store->ops->load(store->self, NULL, &arena, &records, &n, &err), expected);
    assert_int_equal(err.text[0] != '\0', expected != 0);
    arena_fini(&arena);
    return n;
}

static void
a_file_keeps_what_was_put(void **state)
{
    (void)state;
    struct folder folder = new_folder();
    struct key_store mine = key_file_new(folder.file);
    struct key_store other = key_file_new(folder.file);
    struct key_record records[2] = {
        {.id = DYN_SLICE("0123456789abcdef"), .name = DYN_SLICE("one"), .scopes = KEY_SCOPE_ADMIN},
        {.id = DYN_SLICE("0123456789abcde0"), .name = DYN_SLICE("two"), .scopes = KEY_SCOPE_READ}};
    struct dyn_err err;
    struct stat status;
    assert_int_equal(load(&mine, 0), 0); /* there is none yet */
    assert_int_equal(load(&other, 0), 0);
    assert_false(mine.ops->has_changed(mine.self));
    key_table_t *table = key_table_new(records, 2, 1, NULL, NULL);
    assert_int_equal(mine.ops->hold(mine.self, &err), 0);
    assert_int_equal(mine.ops->put(mine.self, key_table_at(table, 1), table, NULL, &err), 0);
    mine.ops->let_go(mine.self);
    key_table_unref(&table);
    assert_false(mine.ops->has_changed(mine.self));
    assert_true(other.ops->has_changed(other.self));
    assert_int_equal(load(&other, 0), 2);
    assert_false(other.ops->has_changed(other.self));
    assert_int_equal(stat(folder.file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    mine.ops->close(mine.self);
    other.ops->close(other.self);
    remove_folder(&folder);
}

/* A key that can't be read may be one that was revoked: none is taken. */
static void
a_broken_line_refuses_the_file(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "{\"id\":\"0123456789abcdef\",\"name\":\"n\",\"scopes\":[\"admin\"]}\n{\"id\":",
        "{\"id\":\"0123456789abcdef\",\"name\":\"n\",\"scopes\":[\"admin\"],\"revoked_at\":\"soon\"}\n",
        "{\"id\":\"0123456789abcdef\",\"name\":\"n\",\"scopes\":[\"admin\"],\"salt\":\"12\"}\n",
    };
    struct folder folder = new_folder();
    struct key_store store = key_file_new(folder.file);
    for (size_t i = 0; i < DYN_ARRAY_LEN(broken); i++) {
        FILE *file = fopen(folder.file, "w");
        assert_non_null(file);
        (void)fputs(broken[i], file);
        (void)fclose(file);
        (void)load(&store, -1);
    }
    store.ops->close(store.self);
    remove_folder(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_swapped_table_is_seen_at_once),
        cmocka_unit_test(what_is_known_is_known_whole),
        cmocka_unit_test(cells_use_what_is_swapped_under_them),
        cmocka_unit_test(a_file_keeps_what_was_put),
        cmocka_unit_test(a_broken_line_refuses_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
