/* A folder of keys for tests of the bus: made in /tmp, gone afterwards. */
#pragma once

#include "bus/cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct keys {
    char folder[32];
};

/* Good for three calls more. */
static inline const char *
keys_path(const struct keys *keys, const char *name)
{
    static char texts[4][128];
    static unsigned turn;
    char *out = texts[turn++ % 4];
    (void)snprintf(out, sizeof texts[0], "%s/%s", keys->folder, name);
    return out;
}

static inline void
keys_open(struct keys *keys)
{
    *keys = (struct keys){.folder = "/tmp/dynabus-keys-XXXXXX"};
    assert_non_null(mkdtemp(keys->folder));
    assert_int_equal(mkdir(keys_path(keys, "allowed"), 0700), 0);
}

static inline void
keys_remove_all(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(dir);
}

static inline void
keys_close(struct keys *keys)
{
    keys_remove_all(keys_path(keys, "allowed"));
    (void)rmdir(keys_path(keys, "allowed"));
    keys_remove_all(keys->folder);
    assert_int_equal(rmdir(keys->folder), 0);
}

/* FOLDER/NAME.key and its secret; the public half is also allowed when `allow`. */
static inline void
keys_make(struct keys *keys, const char *name, enum bus_role role, bool allow, struct bus_cert *cert)
{
    struct dyn_err err;
    char file[64];
    (void)snprintf(file, sizeof file, "%s.key", name);
    assert_int_equal(bus_cert_make(role, name, cert, &err), 0);
    assert_int_equal(bus_cert_save(cert, keys_path(keys, file), &err), 0);
    if (allow) {
        char allowed[64];
        (void)snprintf(allowed, sizeof allowed, "allowed/%s.key", name);
        assert_int_equal(link(keys_path(keys, file), keys_path(keys, allowed)), 0);
    }
}

static inline void
keys_write(struct keys *keys, const char *name, const char *text)
{
    FILE *file = fopen(keys_path(keys, name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}
