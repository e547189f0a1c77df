/* The catalogue that comes with the program: read-only data, made from models/catalogue.tsv by the build. */
#include "models/image.h"

extern const uint64_t catalogue_builtin_image[];

catalogue_t *
catalogue_builtin(void)
{
    static struct catalogue builtin = {
        .image = (const struct image_head *)(const void *)catalogue_builtin_image, .is_builtin = true};
    return &builtin;
}
