#include "mock/counts.h"

/* FNV-1a (Fowler, Noll, Vo). */
#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t
hash(uint64_t key, struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        key = (key ^ (uint8_t)text.data[i]) * FNV_PRIME;
    }
    return key * FNV_PRIME; /* so that "ab" + "c" is not "a" + "bc" */
}

uint64_t
mock_counts_key(struct dyn_slice model, struct dyn_slice number)
{
    return hash(hash(FNV_START, model), number);
}

uint64_t
mock_counts_add(struct mock_counts *counts, struct dyn_slice model, struct dyn_slice number)
{
    uint64_t key = mock_counts_key(model, number);
    size_t row = (size_t)((key ^ key >> 32) % MOCK_COUNT_ROWS);
    for (size_t i = 0; i < MOCK_COUNT_ROW; i++) {
        struct mock_count *count = &counts->rows[row][i];
        if (count->n > 0 && count->key == key) {
            return ++count->n;
        }
    }
    size_t victim = counts->next[row]++ % MOCK_COUNT_ROW;
    counts->rows[row][victim] = (struct mock_count){key, 1};
    return 1;
}
