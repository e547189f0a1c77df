/* A program of the build, not installed: packs models/catalogue.tsv into an image, written as C. With --text
 * it makes that file of a list of corrections and price lists; where two of these tell of one model the first
 * counts. */
#include "core/buf.h"
#include "models/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int
read_file(const char *path, struct dyn_buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return -1;
    }
    char piece[16384];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;) {
        dyn_buf_add(out, piece, n);
    }
    int rc = ferror(file) ? -1 : 0;
    (void)fclose(file);
    return rc;
}

static int
write_c(const struct image_head *image, const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return -1;
    }
    (void)fputs("#include <stdint.h>\n\nextern const uint64_t catalogue_builtin_image[];\n"
                "const uint64_t catalogue_builtin_image[] = {\n",
                file);
    for (size_t i = 0; i < image->size / sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, (const char *)image + i * sizeof word, sizeof word);
        (void)fprintf(file, "0x%" PRIx64 ",%s", word, i % 8 == 7 ? "\n" : "");
    }
    (void)fputs("};\n", file);
    int rc = ferror(file) ? -1 : 0;
    return fclose(file) == 0 ? rc : -1;
}

static int
fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "catalogue: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* "20261122" as a number; 0 when it is none. */
static uint32_t
day_of(const char *text)
{
    char *end;
    unsigned long day = strtoul(text, &end, 10);
    return *end == '\0' && day < 99999999 ? (uint32_t)day : 0;
}

static int
read_lists(struct catalogue_rows *rows, char **paths, int n)
{
    for (int i = 0; i < n; i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_err err = {.code = DYN_OK};
        int rc = read_file(paths[i], &text);
        if (rc != 0) {
            (void)fail(paths[i], "cannot be read");
        } else if ((rc = catalogue_read(rows, dyn_buf_slice(&text), &err)) != 0) {
            (void)fail(paths[i], err.text);
        }
        if (rc != 0) {
            dyn_buf_fini(&text);
            return -1;
        }
        rows->are_patches = false;
        dyn_buf_fini(&text); /* rows have copies of their own */
    }
    return 0;
}

static int
write_text(const struct catalogue_rows *rows, const char *path)
{
    struct dyn_buf text = DYN_BUF_INIT;
    catalogue_rows_write(rows, &text);
    FILE *file = fopen(path, "w");
    bool is_written = file != NULL && fwrite(text.data, 1, text.len, file) == text.len;
    dyn_buf_fini(&text);
    return file != NULL && fclose(file) == 0 && is_written ? 0 : -1;
}

static int
write_image(const struct catalogue_rows *rows, const char *path)
{
    struct image_head *image = catalogue_rows_pack(rows);
    int rc = write_c(image, path);
    free(image);
    return rc;
}

int
main(int argc, char **argv)
{
    bool to_text = argc >= 5 && strcmp(argv[1], "--text") == 0;
    if (!to_text && argc != 3) {
        return fail("usage",
                    "catalogue_pack CATALOGUE.tsv OUT.c, or --text DAY SOURCE OUT.tsv CORRECTIONS LIST..");
    }
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    if (to_text) {
        rows.date = day_of(argv[2]);
        rows.source = dyn_slice_str(argv[3]);
        rows.are_patches = true;
    }
    const char *out = to_text ? argv[4] : argv[2];
    int rc = to_text ? read_lists(&rows, argv + 5, argc - 5) : read_lists(&rows, argv + 1, 1);
    if (rc == 0) {
        catalogue_rows_settle(&rows);
        rc = to_text ? write_text(&rows, out) : write_image(&rows, out);
        rc = rc == 0 ? 0 : fail(out, "cannot be written");
    }
    catalogue_rows_fini(&rows);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
