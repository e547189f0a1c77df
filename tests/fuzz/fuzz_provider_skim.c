/* The skimmer of long answers: fed whole and in pieces it comes to the same end, and of a valid object it
 * leaves a valid one. */
#include "actors/providers/provider_skim.h"
#include "core/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
skim_in_pieces(struct provider_skim *skim, const char *text, size_t size, size_t piece)
{
    provider_skim_init(skim);
    for (size_t i = 0; i < size; i += piece) {
        provider_skim_feed(skim, dyn_slice(text + i, size - i < piece ? size - i : piece));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct provider_skim whole;
    struct provider_skim pieces;
    struct json_value value;
    skim_in_pieces(&whole, text, size, size > 0 ? size : 1);
    skim_in_pieces(&pieces, text, size, size > 0 ? 1 + data[0] % 7 : 1);
    struct dyn_slice result = provider_skim_result(&whole);
    DYN_ASSERT(dyn_slice_eq(result, provider_skim_result(&pieces)));
    bool is_object = json_scan(dyn_slice(text, size), PROVIDER_SKIM_DEPTH_MAX, &value, NULL) == 0 &&
                     value.type == JSON_OBJECT;
    if (is_object && result.data != NULL) {
        DYN_ASSERT(json_scan(result, PROVIDER_SKIM_DEPTH_MAX, NULL, NULL) == 0);
    }
    if (is_object && size < PROVIDER_SKIM_VALUE_MAX) {
        DYN_ASSERT(result.data != NULL);
    }
    provider_skim_fini(&whole);
    provider_skim_fini(&pieces);
    return 0;
}
