/* Asks a model over the Dynabus bus (proto/03-CLIENT.md), with libzmq and msgpack-c.
 *
 *   usage: chat chat|stream|cancel MODEL TEXT
 *
 * The router is at DYNABUS_BUS (tcp://127.0.0.1:7400); DYNABUS_API_KEY is sent along. A plain answer is
 * printed as the JSON that it is, a stream as its events: reading JSON is not what this example is about. */
#include <msgpack.h>
#include <zmq.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    WINDOW = 65536,       /* bytes that may come before more is granted */
    PATIENCE_MS = 60000,  /* nothing at all for so long: nobody is there */
    PLAIN_MAX = 16 << 20, /* of an answer that is kept until its end */
};

struct text {
    const char *data;
    size_t len;
};

/* What a client looks at of an answer's header. */
struct header {
    struct text kind, id, outcome, error, err_text, reason;
    uint64_t seq;
    bool stream;
};

struct chat {
    void *socket;
    unsigned char id[16];
    bool stream;
    bool cancels; /* at the first CHUNK */
    char *held;   /* a plain answer, which may start over until its end */
    size_t held_len;
    uint64_t expected; /* seq of the next CHUNK */
    uint32_t taken;    /* bytes since the last CREDIT */
};

/* ---- headers ---- */

static void
pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static void
pack_bytes(msgpack_packer *packer, const void *bytes, size_t len)
{
    msgpack_pack_bin(packer, len);
    msgpack_pack_bin_body(packer, bytes, len);
}

/* {"v": [1, 1], "kind": kind, "id": id, and `more` members that follow. */
static void
begin_header(msgpack_packer *packer, const struct chat *chat, const char *kind, size_t more)
{
    msgpack_pack_map(packer, 3 + more);
    pack_text(packer, "v");
    msgpack_pack_array(packer, 2);
    msgpack_pack_uint8(packer, 1);
    msgpack_pack_uint8(packer, 1);
    pack_text(packer, "kind");
    pack_text(packer, kind);
    pack_text(packer, "id");
    pack_bytes(packer, chat->id, sizeof chat->id);
}

static bool
is_word(struct text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static struct text
text_of(const msgpack_object *value)
{
    if (value->type == MSGPACK_OBJECT_STR) {
        return (struct text){value->via.str.ptr, value->via.str.size};
    }
    if (value->type == MSGPACK_OBJECT_BIN) {
        return (struct text){value->via.bin.ptr, value->via.bin.size};
    }
    return (struct text){NULL, 0};
}

/* Unknown members are skipped. The texts point into `map`. */
static bool
read_header(const msgpack_object *map, struct header *header)
{
    memset(header, 0, sizeof *header);
    if (map->type != MSGPACK_OBJECT_MAP) {
        return false;
    }
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *member = &map->via.map.ptr[i];
        struct text key = text_of(&member->key);
        struct text value = text_of(&member->val);
        if (is_word(key, "kind")) {
            header->kind = value;
        } else if (is_word(key, "id")) {
            header->id = value;
        } else if (is_word(key, "outcome")) {
            header->outcome = value;
        } else if (is_word(key, "error")) {
            header->error = value;
        } else if (is_word(key, "err_text")) {
            header->err_text = value;
        } else if (is_word(key, "reason")) {
            header->reason = value;
        } else if (is_word(key, "seq") && member->val.type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
            header->seq = member->val.via.u64;
        } else if (is_word(key, "stream") && member->val.type == MSGPACK_OBJECT_BOOLEAN) {
            header->stream = member->val.via.boolean;
        }
    }
    return header->kind.data != NULL;
}

/* ---- asking ---- */

static int
send_frames(struct chat *chat, const msgpack_sbuffer *header, const char *body)
{
    int more = body != NULL ? ZMQ_SNDMORE : 0;
    return zmq_send(chat->socket, header->data, header->size, more) < 0 ||
           (body != NULL && zmq_send(chat->socket, body, strlen(body), 0) < 0);
}

static void
send_request(struct chat *chat, const char *body)
{
    const char *key = getenv("DYNABUS_API_KEY");
    msgpack_sbuffer out;
    msgpack_packer packer;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    begin_header(&packer, chat, "request", key != NULL ? 5 : 4);
    pack_text(&packer, "surface");
    pack_text(&packer, "chat");
    pack_text(&packer, "stream");
    chat->stream ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer);
    pack_text(&packer, "dialect");
    pack_text(&packer, "openai_chat");
    if (key != NULL) {
        pack_text(&packer, "cred");
        pack_bytes(&packer, key, strlen(key));
    }
    pack_text(&packer, "credit");
    msgpack_pack_uint32(&packer, WINDOW);
    (void)send_frames(chat, &out, body);
    msgpack_sbuffer_destroy(&out);
}

static void
send_credit(struct chat *chat)
{
    msgpack_sbuffer out;
    msgpack_packer packer;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    begin_header(&packer, chat, "credit", 1);
    pack_text(&packer, "credit");
    msgpack_pack_uint32(&packer, chat->taken);
    (void)send_frames(chat, &out, NULL);
    msgpack_sbuffer_destroy(&out);
    chat->taken = 0;
}

static void
send_cancel(struct chat *chat)
{
    msgpack_sbuffer out;
    msgpack_packer packer;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    begin_header(&packer, chat, "cancel", 1);
    pack_text(&packer, "reason");
    pack_text(&packer, "user");
    (void)send_frames(chat, &out, NULL);
    msgpack_sbuffer_destroy(&out);
    chat->cancels = false;
}

/* ---- the answer ---- */

/* 1: go on; 0: done; -1: failed, and said why. */
static int
fail(const char *what, struct text text)
{
    (void)fprintf(stderr, "%s%.*s\n", what, (int)text.len, text.data != NULL ? text.data : "");
    return -1;
}

static int
hold(struct chat *chat, struct text body)
{
    if (chat->held_len + body.len > PLAIN_MAX) {
        return fail("the answer is too long", (struct text){NULL, 0});
    }
    memcpy(chat->held + chat->held_len, body.data, body.len);
    chat->held_len += body.len;
    return 1;
}

static int
take_chunk(struct chat *chat, const struct header *header, struct text body)
{
    bool starts_over = !header->stream && !chat->stream && header->seq == 0;
    if (header->seq != chat->expected && !starts_over) {
        return fail("a piece of the answer is missing", (struct text){NULL, 0});
    }
    chat->held_len = starts_over ? 0 : chat->held_len;
    chat->expected = header->seq + 1;
    chat->taken += (uint32_t)body.len;
    if (chat->taken >= WINDOW / 2) {
        send_credit(chat);
    }
    if (!chat->stream) {
        return hold(chat, body);
    }
    (void)fwrite(body.data, 1, body.len, stdout);
    (void)fflush(stdout);
    if (chat->cancels) {
        send_cancel(chat);
    }
    return 1;
}

static int
take_end(struct chat *chat, const struct header *header, struct text body)
{
    if (!is_word(header->outcome, "ok")) {
        struct text why = header->err_text.len > 0 ? header->err_text : header->error;
        return fail("", why.len > 0 ? why : header->outcome);
    }
    if (body.len > 0) { /* the whole answer, whatever came before */
        (void)fwrite(body.data, 1, body.len, stdout);
    } else {
        (void)fwrite(chat->held, 1, chat->held_len, stdout);
    }
    (void)putchar('\n');
    return 0;
}

static int
take(struct chat *chat, const msgpack_object *map, struct text body)
{
    struct header header;
    if (!read_header(map, &header)) {
        return 1;
    }
    if (is_word(header.kind, "goodbye") && !is_word(header.reason, "drain")) {
        return fail("the router told us to go: ", header.reason);
    }
    if (header.id.len != sizeof chat->id || memcmp(header.id.data, chat->id, sizeof chat->id) != 0) {
        return 1;
    }
    if (is_word(header.kind, "chunk")) {
        return take_chunk(chat, &header, body);
    }
    return is_word(header.kind, "end") ? take_end(chat, &header, body) : 1;
}

static int
receive(struct chat *chat)
{
    zmq_pollitem_t item = {.socket = chat->socket, .events = ZMQ_POLLIN};
    if (zmq_poll(&item, 1, PATIENCE_MS) <= 0) {
        return fail("no answer within a minute", (struct text){NULL, 0});
    }
    zmq_msg_t head;
    zmq_msg_t body;
    zmq_msg_init(&head);
    zmq_msg_init(&body);
    int result = 1;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    if (zmq_msg_recv(&head, chat->socket, 0) >= 0) {
        struct text bytes = {NULL, 0};
        if (zmq_msg_more(&head) && zmq_msg_recv(&body, chat->socket, 0) >= 0) {
            bytes = (struct text){zmq_msg_data(&body), zmq_msg_size(&body)};
        }
        if (msgpack_unpack_next(&unpacked, zmq_msg_data(&head), zmq_msg_size(&head), NULL) ==
            MSGPACK_UNPACK_SUCCESS) {
            result = take(chat, &unpacked.data, bytes);
        }
    }
    msgpack_unpacked_destroy(&unpacked);
    zmq_msg_close(&body);
    zmq_msg_close(&head);
    return result;
}

/* ---- the program ---- */

/* A JSON string with its quotes. */
static void
put_json(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            (void)fprintf(out, "\\%c", c);
        } else if (c < ' ') {
            (void)fprintf(out, "\\u%04x", c);
        } else {
            (void)fputc(c, out);
        }
    }
    (void)fputc('"', out);
}

/* To be freed; NULL without memory. */
static char *
chat_body(const char *model, const char *text, bool stream)
{
    char *body = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&body, &len);
    if (out == NULL) {
        return NULL;
    }
    (void)fputs("{\"model\":", out);
    put_json(out, model);
    (void)fprintf(out,
                  ",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":", stream ? "true" : "false");
    put_json(out, text);
    (void)fputs("}]}", out);
    (void)fclose(out);
    return body;
}

static int
run(struct chat *chat, const char *model, const char *text)
{
    const char *endpoint = getenv("DYNABUS_BUS");
    const int heartbeat_ms = 1000;
    const int linger_ms = 500;
    const int no_limit = 0; /* credit bounds what comes */
    int result = -1;
    void *context = zmq_ctx_new();
    char *body = chat_body(model, text, chat->stream);
    chat->held = malloc(PLAIN_MAX);
    chat->socket = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(chat->socket, ZMQ_HEARTBEAT_IVL, &heartbeat_ms, sizeof heartbeat_ms);
    zmq_setsockopt(chat->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(chat->socket, ZMQ_RCVHWM, &no_limit, sizeof no_limit);
    if (body != NULL && chat->held != NULL && getrandom(chat->id, sizeof chat->id, 0) == sizeof chat->id &&
        zmq_connect(chat->socket, endpoint != NULL ? endpoint : "tcp://127.0.0.1:7400") == 0) {
        send_request(chat, body);
        do {
            result = receive(chat);
        } while (result == 1);
    } else {
        perror("chat");
    }
    zmq_close(chat->socket);
    zmq_ctx_term(context);
    free(chat->held);
    free(body);
    return result;
}

int
main(int argc, char **argv)
{
    bool chats = argc == 4 && strcmp(argv[1], "chat") == 0;
    bool streams = argc == 4 && strcmp(argv[1], "stream") == 0;
    bool cancels = argc == 4 && strcmp(argv[1], "cancel") == 0;
    if (!chats && !streams && !cancels) {
        (void)fprintf(stderr, "usage: %s chat|stream|cancel MODEL TEXT\n", argv[0]);
        return 2;
    }
    struct chat chat = {.stream = !chats, .cancels = cancels};
    return run(&chat, argv[2], argv[3]) == 0 ? 0 : 1;
}
