#include "router/admission.h"

/* All of it, eight bytes at a time: an eighth of what CRYPTO_memcmp() costs, which was a twentieth of a
 * request. The barrier keeps the compiler from stopping at the first difference. */
static bool
is_same_width(const char left[ADMISSION_KEY_MAX], const char right[ADMISSION_KEY_MAX])
{
    uint64_t differs = 0;
    for (size_t i = 0; i < ADMISSION_KEY_MAX; i += sizeof differs) {
        uint64_t a;
        uint64_t b;
        memcpy(&a, left + i, sizeof a);
        memcpy(&b, right + i, sizeof b);
        differs |= a ^ b;
        __asm__ volatile("" : "+r"(differs));
    }
    return differs == 0;
}

/* Both are compared at full width, so that neither the position of a difference nor the length shows. */
static bool
same_secret(struct dyn_slice a, struct dyn_slice b)
{
    char left[ADMISSION_KEY_MAX] = {0};
    char right[ADMISSION_KEY_MAX] = {0};
    if (a.len > sizeof left || b.len > sizeof right) {
        return false;
    }
    memcpy(left, a.data, a.len);
    memcpy(right, b.data, b.len);
    return is_same_width(left, right) & (a.len == b.len);
}

static struct admission_verdict
refuse(enum err_code code, uint32_t retry_s)
{
    return (struct admission_verdict){.refused = code, .key_id = DYN_SLICE("-"), .retry_s = retry_s};
}

static struct admission_verdict
admit_key(const struct key_record *key, uint64_t wall_ms)
{
    (void)atomic_fetch_add_explicit(&key->uses->count, 1, memory_order_relaxed);
    atomic_store_explicit(&key->uses->last_ms, wall_ms, memory_order_relaxed);
    bool is_admin = (key->scopes & KEY_SCOPE_ADMIN) != 0;
    return (struct admission_verdict){
        .key_id = key->id, .scopes = is_admin ? (uint32_t)KEY_SCOPES_ALL : key->scopes, .key = key};
}

/* Nobody locks himself out of a gateway of his own by naming a store; the first key that
 * is made closes it. */
static bool
is_open(const struct admission *admission, struct key_cell *cell)
{
    if (admission->open || !admission->open_without_keys) {
        return admission->open;
    }
    const struct key_view *view = key_cell_look(cell);
    return view != NULL && key_table_count(view->table) == 0;
}

/* Not guessed either: 256 bits, made when the process began. */
static bool
is_own(const struct admission *admission, struct dyn_slice credential)
{
    return admission->own_key.len > 0 && credential.len == admission->own_key.len &&
           same_secret(credential, admission->own_key);
}

static struct admission_verdict
master(void)
{
    return (struct admission_verdict){.key_id = DYN_SLICE("master"), .scopes = KEY_SCOPES_ALL};
}

static bool
is_master(const struct admission *admission, struct dyn_slice credential)
{
    return credential.len > 0 && admission->master_key.len > 0 &&
           same_secret(credential, admission->master_key);
}

static struct admission_verdict
anonymous(uint32_t retry_s)
{
    return (struct admission_verdict){
        .key_id = DYN_SLICE("anonymous"), .scopes = KEY_SCOPE_INFERENCE | KEY_SCOPE_READ, .retry_s = retry_s};
}

/* Where anybody may come in the master key can be tried out like anywhere. */
static struct admission_verdict
admit_anybody(const struct admission *admission, const struct admission_asker *asker, bool is_known)
{
    if (asker->credential.len > 0 && admission->master_key.len > 0 && !is_known) {
        guessing_failed(admission->guessing, asker->peer, asker->now_us);
    }
    return anonymous(0);
}

/* What keys there are is not known, or not any more. */
static bool
is_unsure(const struct admission *admission, const struct admission_asker *asker, bool has_keys)
{
    if (admission->keys == NULL || (!has_keys && !admission->open_without_keys)) {
        return false;
    }
    return has_keys ? !key_ring_is_fresh(admission->keys, asker->now_us)
                    : !key_ring_has_table(admission->keys);
}

/* A key's secret can't be guessed, so its holder passes from an address that is slowed, too. All else waits:
 * what a person chose may be tried out. */
struct admission_verdict
admission_judge(const struct admission *admission, struct key_cell *cell, const struct admission_asker *asker)
{
    struct dyn_slice credential = asker->credential;
    struct dyn_slice id;
    bool has_keys = admission->keys != NULL && key_text_read(credential, &id);
    const struct key_record *key = has_keys ? key_cell_verify(cell, credential) : NULL;
    if (key != NULL && key_is_usable(key, asker->wall_ms) &&
        key_ring_is_fresh(admission->keys, asker->now_us)) {
        return admit_key(key, asker->wall_ms);
    }
    if (is_own(admission, credential)) {
        return master();
    }
    uint32_t wait_s =
        credential.len > 0 ? guessing_wait_s(admission->guessing, asker->peer, asker->now_us) : 0;
    if (wait_s > 0) {
        return is_open(admission, cell) ? anonymous(wait_s) : refuse(ERR_RATE_LIMITED, wait_s);
    }
    if (is_master(admission, credential)) {
        return master();
    }
    if (is_open(admission, cell)) {
        return admit_anybody(admission, asker, key != NULL);
    }
    if (is_unsure(admission, asker, has_keys)) {
        return refuse(ERR_KEYS_UNAVAILABLE, ADMISSION_UNSURE_RETRY_S);
    }
    if (credential.len == 0) {
        return refuse(ERR_MISSING_API_KEY, 0);
    }
    if (key == NULL) { /* who still has a key that is over has not guessed it */
        guessing_failed(admission->guessing, asker->peer, asker->now_us);
    }
    return refuse(ERR_INVALID_API_KEY, 0);
}
