#include "router/admission.h"

#include <openssl/crypto.h>

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
    int differs = CRYPTO_memcmp(left, right, sizeof left);
    return differs == 0 && a.len == b.len;
}

struct admission_verdict
admission_judge(const struct admission *admission, struct dyn_slice credential)
{
    bool has_master = admission->master_key.len > 0;
    if (credential.len > 0 && has_master && same_secret(credential, admission->master_key)) {
        return (struct admission_verdict){ERR_NONE, DYN_SLICE("master")};
    }
    if (admission->open) {
        return (struct admission_verdict){ERR_NONE, DYN_SLICE("anonymous")};
    }
    enum err_code refused = credential.len > 0 ? ERR_INVALID_API_KEY : ERR_MISSING_API_KEY;
    return (struct admission_verdict){refused, DYN_SLICE("-")};
}
