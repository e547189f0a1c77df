/* Who changed which key, or tried to: a line of the log and a row of the ledger's table `audit`. */
#include "core/log.h"
#include "core/rand.h"
#include "router/guessing.h"
#include "router/key_asking.h"

enum { ID_BYTES = 16 };

static struct dyn_slice
new_id(struct arena *arena)
{
    uint8_t bytes[ID_BYTES];
    char *text = arena_alloc(arena, sizeof bytes * 2);
    dyn_random_bytes(bytes, sizeof bytes);
    dyn_hex_encode(text, bytes, sizeof bytes);
    return dyn_slice(text, sizeof bytes * 2);
}

static struct dyn_slice
name_of(const struct asking *asking)
{
    const struct key_record *key =
        asking->table != NULL ? key_table_find(asking->table, asking->asker) : NULL;
    return key != NULL ? key->name : dyn_slice(NULL, 0);
}

static struct dyn_slice
detail(struct asking *asking, const char *why, const struct key_record *changed)
{
    struct dyn_buf text = DYN_BUF_INIT;
    if (why != NULL) {
        dyn_buf_addf(&text, "{\"error\":\"%s\"}", why);
    } else if (changed != NULL) {
        dyn_buf_add_str(&text, "{\"key\":");
        key_record_show(changed, NULL, asking->now_ms, &text);
        dyn_buf_add_char(&text, '}');
    }
    struct dyn_slice copy =
        text.len > 0 ? arena_copy(&asking->arena, dyn_buf_slice(&text)) : dyn_slice(NULL, 0);
    dyn_buf_fini(&text);
    return copy;
}

void
key_audit_fill(struct asking *asking, const char *outcome, const char *why, const struct key_record *changed,
               struct ledger_audit *audit)
{
    *audit = (struct ledger_audit){
        .id = new_id(&asking->arena),
        .occurred_us = asking->now_ms * 1000,
        .action = dyn_slice_str(asking->audit),
        .actor = name_of(asking),
        .actor_id = asking->asker,
        .target_id = asking->about,
        .outcome = dyn_slice_str(outcome),
        .detail = detail(asking, why, changed),
        .source_ip = guessing_host(asking->request->peer),
        .trace_id = asking->request->trace_id,
    };
}

void
key_audit_tell(struct asking *asking, const struct env *end, struct dyn_buf *rows)
{
    bool is_ok = end->outcome == ENV_OUTCOME_OK;
    const char *outcome = is_ok ? "ok" : end->status >= 500 ? "error" : "denied";
    const char *why = is_ok ? NULL : err_row(end->error)->code;
    dyn_log(DYN_LOG_INFO, "audit", "an operator changed keys, or tried to",
            DYN_LOG_STR("action", asking->audit), DYN_LOG_SLICE("actor_id", asking->asker),
            DYN_LOG_SLICE("target_id", asking->about), DYN_LOG_STR("outcome", outcome),
            DYN_LOG_STR("why", why), DYN_LOG_SLICE("source_ip", asking->request->peer),
            DYN_LOG_SLICE("trace_id", asking->request->trace_id));
    if (!(is_ok && asking->is_noted)) {
        struct ledger_row row = {.table = LEDGER_AUDIT};
        key_table_t *now = is_ok ? key_ring_get(asking->admin->ring) : NULL;
        key_audit_fill(asking, outcome, why, now != NULL ? key_table_find(now, asking->about) : NULL,
                       &row.of.audit);
        ledger_row_encode(&row, rows);
        key_table_unref(&now);
    }
}
