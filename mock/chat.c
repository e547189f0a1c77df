#include "mock/chat.h"

#include "core/json_scan.h"

enum { BYTES_PER_TOKEN = 4 }; /* of a prompt, roughly */

bool
mock_number_is_valid(struct dyn_slice number)
{
    if (number.len == 0 || number.len > MOCK_NUMBER_MAX) {
        return false;
    }
    for (size_t i = 0; i < number.len; i++) {
        char c = number.data[i];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                    c == '_';
        if (!good) {
            return false;
        }
    }
    return true;
}

/* "user":"request-17" gives 17. */
static void
read_user(struct mock_chat *chat, struct json_value value)
{
    static const struct dyn_slice mark = DYN_SLICE_INIT("request-");
    struct dyn_slice text = json_string_plain(value);
    if (text.len > mark.len && memcmp(text.data, mark.data, mark.len) == 0) {
        struct dyn_slice number = dyn_slice(text.data + mark.len, text.len - mark.len);
        if (mock_number_is_valid(number)) {
            chat->number = number;
        }
    }
}

/* The same in the Messages API: "metadata":{"user_id":"request-17"}. */
static void
read_metadata(struct mock_chat *chat, struct json_value value)
{
    struct json_value user;
    if (value.type == JSON_OBJECT && json_find(value, "user_id", &user)) {
        read_user(chat, user);
    }
}

static void
read_stream_options(struct mock_chat *chat, struct json_value value)
{
    struct json_value include;
    if (value.type == JSON_OBJECT && json_find(value, "include_usage", &include)) {
        chat->include_usage = include.type == JSON_TRUE;
    }
}

static void
read_max_tokens(struct mock_chat *chat, struct json_value value)
{
    int64_t max;
    if (value.type == JSON_NUMBER && json_int64(value, &max) == 0 && max >= 0 && max < MOCK_TOKENS_ANY) {
        chat->max_tokens = (uint32_t)max;
    }
}

static int
read_member(void *self, const struct json_member *member)
{
    struct mock_chat *chat = self;
    struct json_value value = member->value;
    if (json_key_is(member, "model")) {
        if (value.type == JSON_STRING) {
            chat->model = dyn_slice(value.raw.data + 1, value.raw.len - 2);
        }
    } else if (json_key_is(member, "stream")) {
        chat->stream = value.type == JSON_TRUE;
    } else if (json_key_is(member, "stream_options")) {
        read_stream_options(chat, value);
    } else if (json_key_is(member, "user")) {
        read_user(chat, value);
    } else if (json_key_is(member, "metadata")) {
        read_metadata(chat, value);
    } else if (json_key_is(member, "messages")) {
        chat->has_messages = value.type == JSON_ARRAY;
        chat->prompt_tokens = (uint32_t)(value.raw.len / BYTES_PER_TOKEN + 1);
    } else if (json_key_is(member, "max_tokens") || json_key_is(member, "max_completion_tokens")) {
        read_max_tokens(chat, value);
    }
    return 0;
}

int
mock_chat_read(struct mock_chat *chat, struct dyn_slice body, const char **why, const char **param)
{
    *chat = (struct mock_chat){.max_tokens = MOCK_TOKENS_ANY};
    *param = NULL;
    struct json_error error;
    if (json_scan_object(body, JSON_DEPTH_DEFAULT, read_member, chat, &error) != 0) {
        *why = "the body is not a JSON object";
        return -1;
    }
    if (chat->model.len == 0) {
        *why = "the request names no model";
        *param = "model";
        return -1;
    }
    if (!chat->has_messages) {
        *why = "the request has no list of messages";
        *param = "messages";
        return -1;
    }
    return 0;
}
