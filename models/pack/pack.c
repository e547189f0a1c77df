/* A program of the build: reads models/catalogue.tsv and writes its image as C. Not installed. */
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

int
main(int argc, char **argv)
{
    if (argc != 3) {
        return fail("usage", "pack CATALOGUE.tsv OUT.c");
    }
    struct dyn_buf text = DYN_BUF_INIT;
    if (read_file(argv[1], &text) != 0) {
        return fail(argv[1], "cannot be read");
    }
    struct catalogue_rows rows;
    struct dyn_err err = {.code = DYN_OK};
    catalogue_rows_init(&rows);
    if (catalogue_read(&rows, dyn_buf_slice(&text), &err) != 0) {
        return fail(argv[1], err.text);
    }
    catalogue_rows_settle(&rows);
    struct image_head *image = catalogue_rows_pack(&rows);
    int rc = write_c(image, argv[2]);
    free(image);
    catalogue_rows_fini(&rows);
    dyn_buf_fini(&text);
    return rc == 0 ? EXIT_SUCCESS : fail(argv[2], "cannot be written");
}
