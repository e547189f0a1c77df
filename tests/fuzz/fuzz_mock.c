/* The mock's readers: names of models, scripts, chat requests. Whatever a name asks for stays within the
 * table's bounds. */
#include "mock/chat.h"
#include "mock/script.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_name(struct dyn_slice text)
{
    struct mock_behaviour behaviour;
    struct dyn_err err;
    if (mock_behaviour_of_model(&behaviour, text, &err) == 0) {
        DYN_ASSERT(behaviour.tokens <= 100000 && behaviour.tools <= 16);
        DYN_ASSERT(behaviour.delay_ms.from <= behaviour.delay_ms.to && behaviour.delay_ms.to <= 600000);
        DYN_ASSERT(behaviour.status == 0 || (behaviour.status >= 100 && behaviour.status <= 599));
        mock_behaviour_heal(&behaviour);
        DYN_ASSERT(behaviour.status == 0 && behaviour.cut == MOCK_CUT_NONE);
    }
}

static void
read_script(struct dyn_slice text)
{
    struct dyn_err err;
    mock_script_t *script = mock_script_parse(text, &err);
    if (script != NULL) {
        struct mock_rule *rule =
            mock_script_match(script, DYN_SLICE("/v1/chat/completions"), DYN_SLICE("flaky"));
        if (rule != NULL) {
            (void)mock_rule_next(rule);
            (void)mock_rule_next(rule);
        }
        mock_script_free(&script);
    }
}

static void
read_chat(struct dyn_slice text)
{
    struct mock_chat chat;
    const char *why = NULL;
    const char *param = NULL;
    if (mock_chat_read(&chat, text, &why, &param) != 0) {
        DYN_ASSERT(why != NULL);
    }
    DYN_ASSERT(chat.number.data == NULL || mock_number_is_valid(chat.number));
}

/* The first byte says which reader gets the rest. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        struct dyn_slice rest = dyn_slice((const char *)data + 1, size - 1);
        switch (data[0]) {
        case 'n':
            read_name(rest);
            break;
        case 's':
            read_script(rest);
            break;
        default:
            read_chat(rest);
            break;
        }
    }
    return 0;
}
