/* Certificate files: ours and CZMQ's are the same, nothing is overwritten, and a broken one says why. */
#include "tests/unit/bus/keys.h"

#include <czmq.h>
#include <fcntl.h>

static int
open_keys(void **state)
{
    static struct keys keys;
    keys_open(&keys);
    *state = &keys;
    return 0;
}

static int
close_keys(void **state)
{
    keys_close(*state);
    return 0;
}

static void
what_is_written_is_read_back(void **state)
{
    struct keys *keys = *state;
    struct bus_cert made;
    struct bus_cert loaded;
    struct dyn_err err;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, false, &made);

    assert_int_equal(bus_cert_load(keys_path(keys, "anna.key"), &loaded, &err), 0);
    assert_string_equal(loaded.public_key, made.public_key);
    assert_string_equal(loaded.secret_key, "");
    assert_string_equal(loaded.name, "anna");
    assert_int_equal(loaded.role, BUS_ROLE_CLIENT);

    assert_int_equal(bus_cert_load_pair(keys_path(keys, "anna.key"), &loaded, &err), 0);
    assert_string_equal(loaded.secret_key, made.secret_key);
    assert_int_equal(bus_cert_load_pair(keys_path(keys, "anna.key_secret"), &loaded, &err), 0);
    assert_string_equal(loaded.secret_key, made.secret_key);
}

static void
only_the_owner_reads_a_secret(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct stat info;
    mode_t mask = umask(0);
    keys_make(keys, "anna", BUS_ROLE_CLIENT, false, &cert);
    (void)umask(mask);
    assert_int_equal(stat(keys_path(keys, "anna.key_secret"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(stat(keys_path(keys, "anna.key"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0644);
}

static void
nothing_is_overwritten(void **state)
{
    struct keys *keys = *state;
    struct bus_cert first;
    struct bus_cert second;
    struct bus_cert loaded;
    struct dyn_err err;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, false, &first);
    assert_int_equal(bus_cert_make(BUS_ROLE_ADMIN, "anna", &second, &err), 0);
    assert_int_equal(bus_cert_save(&second, keys_path(keys, "anna.key"), &err), -1);
    assert_non_null(strstr(err.text, "anna.key_secret exists"));

    /* Also when only one half is there: then the other is not left behind. */
    assert_int_equal(unlink(keys_path(keys, "anna.key_secret")), 0);
    assert_int_equal(bus_cert_save(&second, keys_path(keys, "anna.key"), &err), -1);
    assert_int_equal(access(keys_path(keys, "anna.key_secret"), F_OK), -1);
    assert_int_equal(bus_cert_load(keys_path(keys, "anna.key"), &loaded, &err), 0);
    assert_string_equal(loaded.public_key, first.public_key);
}

static void
czmq_reads_ours(void **state)
{
    struct keys *keys = *state;
    struct bus_cert made;
    keys_make(keys, "anna", BUS_ROLE_WORKER, false, &made);
    zcert_t *cert = zcert_load(keys_path(keys, "anna.key"));
    assert_non_null(cert);
    assert_string_equal(zcert_public_txt(cert), made.public_key);
    assert_string_equal(zcert_secret_txt(cert), made.secret_key);
    assert_string_equal(zcert_meta(cert, "role"), "worker");
    zcert_destroy(&cert);
}

static void
we_read_those_of_czmq(void **state)
{
    struct keys *keys = *state;
    struct bus_cert loaded;
    struct dyn_err err;
    zcert_t *cert = zcert_new();
    zcert_set_meta(cert, "role", "subscriber");
    zcert_set_meta(cert, "organization", "somebody's");
    assert_int_equal(zcert_save(cert, keys_path(keys, "theirs")), 0);
    assert_int_equal(bus_cert_load_pair(keys_path(keys, "theirs"), &loaded, &err), 0);
    assert_string_equal(loaded.public_key, zcert_public_txt(cert));
    assert_string_equal(loaded.secret_key, zcert_secret_txt(cert));
    assert_string_equal(loaded.name, "theirs");
    assert_int_equal(loaded.role, BUS_ROLE_SUBSCRIBER);
    zcert_destroy(&cert);
}

/* CZMQ takes over signals as soon as it opens its context: nothing that we call may do that. */
static void
signals_stay_as_they_are(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct sigaction before;
    struct sigaction after;
    assert_int_equal(sigaction(SIGTERM, NULL, &before), 0);
    keys_make(keys, "anna", BUS_ROLE_CLIENT, false, &cert);
    assert_int_equal(bus_cert_load(keys_path(keys, "anna.key"), &cert, NULL), 0);
    keys_write(keys, "broken", "curve\n   public-key = \"x\n");
    assert_int_equal(bus_cert_load(keys_path(keys, "broken"), &cert, NULL), -1);
    assert_int_equal(sigaction(SIGTERM, NULL, &after), 0);
    assert_ptr_equal(before.sa_handler, after.sa_handler);
}

#define GOOD_KEY "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"

static const struct {
    const char *text;
    const char *says;
} broken[] = {
    {"", "no curve/public-key"},
    {"just some words\n", "not a certificate"},
    {"curve\n   public-key = \"x\"\n", "not a certificate"}, /* three blanks */
    {"curve\n    public-key = \"short\"\n", "public-key is not a CURVE key"},
    {"curve\n    public-key = \"" GOOD_KEY "x\"\n", "public-key is not a CURVE key"},
    {"curve\n    public-key = \"~q:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"\n",
     "public-key is not a CURVE key"},
    {"curve\n    public-key = \"" GOOD_KEY "\"\n    secret-key = \"\"\n", "secret-key is not a CURVE key"},
    {"metadata\n    role = \"boss\"\ncurve\n    public-key = \"" GOOD_KEY "\"\n", "no role 'boss'"},
    {"metadata\n    name = \"0123456789012345678901234567890123456789012345678901234567890123\"\ncurve\n"
     "    public-key = \"" GOOD_KEY "\"\n",
     "its name is longer"},
    {"metadata\n    name = \"a\033b\"\ncurve\n    public-key = \"" GOOD_KEY "\"\n", "not printable"},
};

static void
a_broken_file_says_what_is_wrong(void **state)
{
    struct keys *keys = *state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(broken); i++) {
        struct bus_cert cert;
        struct dyn_err err;
        keys_write(keys, "broken", broken[i].text);
        assert_int_equal(bus_cert_load(keys_path(keys, "broken"), &cert, &err), -1);
        if (strstr(err.text, broken[i].says) == NULL || strstr(err.text, "/broken: ") == NULL) {
            fail_msg("'%s' instead of '%s'", err.text, broken[i].says);
        }
        assert_string_equal(cert.public_key, "");
    }
}

static void
what_is_no_file_is_refused(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct dyn_err err;
    assert_int_equal(bus_cert_load(keys_path(keys, "none"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "none: No such file"));
    assert_int_equal(bus_cert_load(keys_path(keys, "allowed"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "is not a file"));
    assert_int_equal(mkfifo(keys_path(keys, "fifo"), 0600), 0);
    assert_int_equal(bus_cert_load(keys_path(keys, "fifo"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "is not a file"));

    FILE *file = fopen(keys_path(keys, "large"), "w");
    for (int i = 0; i < 70000; i++) {
        (void)fputc('#', file);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(bus_cert_load(keys_path(keys, "large"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "too large"));

    int fd = open(keys_path(keys, "zeros"), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "a\0b", 3), 3);
    (void)close(fd);
    assert_int_equal(bus_cert_load(keys_path(keys, "zeros"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "not a certificate"));
}

static void
a_public_half_is_no_pair(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct dyn_err err;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, false, &cert);
    assert_int_equal(unlink(keys_path(keys, "anna.key_secret")), 0);
    assert_int_equal(bus_cert_load_pair(keys_path(keys, "anna.key"), &cert, &err), -1);
    assert_non_null(strstr(err.text, "has no secret key"));
}

static void
names_are_plain(void **state)
{
    (void)state;
    static const char *const refused[] = {"", "a/b", "../x", ".x", "-x", "a b", "a\"b", "a\nb", "\xc3\xa4"};
    struct bus_cert cert;
    struct dyn_err err;
    for (size_t i = 0; i < DYN_ARRAY_LEN(refused); i++) {
        assert_int_equal(bus_cert_make(BUS_ROLE_CLIENT, refused[i], &cert, &err), -1);
        assert_non_null(strstr(err.text, "is not a name for a key"));
    }
    assert_int_equal(bus_cert_make(BUS_ROLE_NONE, "a.b_c-9", &cert, &err), 0);
}

int
main(void)
{
#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, open_keys, close_keys)
    const struct CMUnitTest tests[] = {
        WITH_KEYS(what_is_written_is_read_back),
        WITH_KEYS(only_the_owner_reads_a_secret),
        WITH_KEYS(nothing_is_overwritten),
        WITH_KEYS(signals_stay_as_they_are),
        WITH_KEYS(czmq_reads_ours),
        WITH_KEYS(we_read_those_of_czmq),
        WITH_KEYS(a_broken_file_says_what_is_wrong),
        WITH_KEYS(what_is_no_file_is_refused),
        WITH_KEYS(a_public_half_is_no_pair),
        cmocka_unit_test(names_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
