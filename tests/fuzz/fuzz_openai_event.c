/* Events and answers from any upstream. The quick look at an event must not miss what the thorough one
 * finds: usage, a finish, an error. A member `error` that says nothing makes sure of the thorough one. */
#include "core/buf.h"
#include "proto/dialects/dialect.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct dialect_ops *const chat = &dialect_openai_chat;

static bool
lies_within(struct dyn_slice part, struct dyn_slice whole)
{
    return part.data == NULL || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void
read_event(struct dyn_slice type, struct dyn_slice data)
{
    struct sse_event event = {.type = type, .data = data};
    struct dialect_event seen;
    if (chat->read_event(&event, &seen) != 0) {
        return;
    }
    DYN_ASSERT(lies_within(seen.error_message, data));
    DYN_ASSERT(!seen.terminal || !(seen.error || seen.content || seen.finished || seen.usage_only));
    DYN_ASSERT(!seen.usage_only || (seen.usage.known && !seen.content && !seen.error));
    DYN_ASSERT(!seen.finished || seen.content);
    DYN_ASSERT(seen.error || seen.error_message.data == NULL);
}

static void
expect_nothing_missed(struct dyn_slice text)
{
    static const struct dyn_slice silent = DYN_SLICE_INIT("{\"error\":false,");
    struct json_value object;
    struct json_member first;
    struct dialect_event quick;
    struct dialect_event thorough;
    if (json_scan(text, JSON_DEPTH_DEFAULT, &object, NULL) != 0 || object.type != JSON_OBJECT) {
        return;
    }
    struct json_iter members = json_iter(object);
    if (!json_iter_next(&members, &first) || memmem(text.data, text.len, "\\u00", 4) != NULL) {
        return; /* the quick look doesn't decode keys */
    }
    struct dyn_buf copy = DYN_BUF_INIT;
    dyn_buf_add_slice(&copy, silent);
    dyn_buf_add(&copy, object.raw.data + 1, object.raw.len - 1);
    struct sse_event event = {.data = text};
    DYN_ASSERT(chat->read_event(&event, &quick) == 0);
    event.data = dyn_buf_slice(&copy);
    DYN_ASSERT(chat->read_event(&event, &thorough) == 0);
    DYN_ASSERT(quick.usage.known == thorough.usage.known && quick.finished == thorough.finished);
    DYN_ASSERT(quick.usage.prompt_tokens == thorough.usage.prompt_tokens);
    DYN_ASSERT(quick.error == thorough.error || memmem(text.data, text.len, "\"error\"", 7) == NULL ||
               !thorough.error_message.data);
    dyn_buf_fini(&copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice text = dyn_slice((const char *)data, size);
    struct env_usage usage;
    int read = chat->read_answer(text, &usage);
    DYN_ASSERT(read != 0 || json_scan(text, JSON_DEPTH_DEFAULT, NULL, NULL) == 0);
    if (read >= 0) {
        DYN_ASSERT(json_scan(text, JSON_DEPTH_DEFAULT, NULL, NULL) == 0 ||
                   memchr(text.data, '\\', size) != NULL);
    }
    read_event(dyn_slice(NULL, 0), text);
    read_event(DYN_SLICE("error"), text);
    expect_nothing_missed(text);
    return 0;
}
