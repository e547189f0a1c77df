/* See http_guard.h. */
#include "edge/http_guard.h"

enum { EMPTY_LINES_MAX = 2 }; /* in front of a request line; RFC 9112 2.2 asks for one */

enum byte_class {
    BYTE_OTHER = 0, /* may stand in a value */
    BYTE_TOKEN,     /* may stand in a token, too */
    BYTE_CR,
    BYTE_LF,
    BYTE_CONTROL, /* nowhere */
};

/* clang-format off */
static const uint8_t byte_classes[256] = {
    4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 3, 4, 4, 2, 4, 4, /* HT 9, LF 10, CR 13 */
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
    0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, /* SP ! " # $ % & ' ( ) * + , - . / */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, /* 0-9 : ; < = > ? */
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* @ A-O */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, /* P-Z [ \ ] ^ _ */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* ` a-o */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 4, /* p-z { | } ~ DEL */
    /* 0x80-0xff: obs-text, BYTE_OTHER */
};
/* clang-format on */

static unsigned
class_of(char c)
{
    return byte_classes[(unsigned char)c];
}

static int
refuse(struct http_refusal *refusal, unsigned status, const char *why)
{
    refusal->status = status;
    refusal->why = why;
    return -1;
}

/* Eight bytes at once: none of them is a control character (seven of eight words of a head). */
static bool
have_no_control(const char *at)
{
    const uint64_t each = 0x0101010101010101u;
    const uint64_t high = 0x8080808080808080u;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t del = word ^ (each * 0x7f);
    uint64_t below_blank = (word - each * ' ') & ~word;
    return ((below_blank | ((del - each) & ~del)) & high) == 0;
}

/* Eight bytes at once: each is an ASCII letter or '-', as nearly all of a header's name are. */
static bool
are_letters(const char *at)
{
    const uint64_t each = 0x0101010101010101u;
    const uint64_t high = 0x8080808080808080u;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t small = (word | each * 0x20) & ~high;
    uint64_t from_a = small + each * (0x80 - 'a');
    uint64_t past_z = small + each * (0x80 - 'z' - 1);
    uint64_t other_than_dash = ((word ^ each * '-') & ~high) + each * 0x7f;
    return (((from_a & ~past_z) | ~other_than_dash) & ~word & high) == high;
}

bool
http_is_token(struct dyn_slice text)
{
    size_t i = 0;
    while (text.len - i >= sizeof(uint64_t) && are_letters(text.data + i)) {
        i += sizeof(uint64_t);
    }
    if (text.len - i < sizeof(uint64_t) && i > 0) { /* the last eight, some of them once more */
        i = are_letters(text.data + text.len - sizeof(uint64_t)) ? text.len : i;
    }
    for (; i < text.len; i++) {
        if (class_of(text.data[i]) != BYTE_TOKEN) {
            return false;
        }
    }
    return text.len > 0;
}

bool
http_is_value(struct dyn_slice text)
{
    size_t i = 0;
    while (text.len - i >= sizeof(uint64_t) && have_no_control(text.data + i)) {
        i += sizeof(uint64_t);
    }
    if (text.len - i < sizeof(uint64_t) && i > 0) {
        i = have_no_control(text.data + text.len - sizeof(uint64_t)) ? text.len : i;
    }
    for (; i < text.len; i++) {
        if (class_of(text.data[i]) >= BYTE_CR) {
            return false;
        }
    }
    return true;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9112 2.3: exactly HTTP/1.0 or HTTP/1.1. */
static int
check_version(const char version[8], struct http_refusal *refusal)
{
    if (memcmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) || version[6] != '.' ||
        !is_digit(version[7])) {
        return refuse(refusal, 400, "request line without HTTP version");
    }
    if (version[5] != '1' || version[7] > '1') {
        return refuse(refusal, 505, "HTTP version");
    }
    return 0;
}

/* RFC 9112 3: method SP request-target SP HTTP-version, with exactly these two blanks. */
static int
check_request_line(struct dyn_slice line, struct http_refusal *refusal)
{
    enum { VERSION_LEN = 8 };
    const char *blank = memchr(line.data, ' ', line.len);
    if (blank == NULL) {
        return refuse(refusal, 400, "request line without blanks");
    }
    struct dyn_slice method = dyn_slice(line.data, (size_t)(blank - line.data));
    if (!http_is_token(method)) {
        return refuse(refusal, 400, "request line without method");
    }
    if (line.len < method.len + 1 + 1 + 1 + VERSION_LEN || line.data[line.len - VERSION_LEN - 1] != ' ') {
        return refuse(refusal, 400, "request line of other form");
    }
    if (check_version(line.data + line.len - VERSION_LEN, refusal) != 0) {
        return -1;
    }
    struct dyn_slice target = dyn_slice(blank + 1, line.len - method.len - 2 - VERSION_LEN);
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.data[i];
        if (c <= ' ' || c >= 0x7f || c == '#') { /* RFC 3986: printable ASCII; a fragment is not sent */
            return refuse(refusal, 400, "request target with a character that no URI has");
        }
    }
    if (dyn_slice_is(method, "CONNECT")) {
        return refuse(refusal, 501, "CONNECT"); /* what follows it is not HTTP: the connection has to close */
    }
    if (target.data[0] == '*' && !(target.len == 1 && dyn_slice_is(method, "OPTIONS"))) {
        return refuse(refusal, 400, "request target");
    }
    return 0;
}

/* The line [scan->line, end) is whole. 1: it was the empty line behind the headers. */
static int
end_line(struct http_head_scan *scan, const char *bytes, size_t end, struct http_refusal *refusal)
{
    size_t line = scan->line;
    scan->line = scan->at = end + 2;
    if (scan->request_line_len == 0) {
        if (end == line) {
            scan->start = end + 2;
            return scan->start > EMPTY_LINES_MAX * 2 ? refuse(refusal, 400, "empty lines") : 0;
        }
        scan->request_line_len = end - line;
        return check_request_line(dyn_slice(bytes + line, end - line), refusal);
    }
    if (end == line) {
        return 1;
    }
    if (bytes[line] == ' ' || bytes[line] == '\t') {
        return refuse(refusal, 400, "folded header"); /* RFC 9112 5.2 */
    }
    return 0;
}

int
http_guard_head(struct http_head_scan *scan, struct dyn_slice bytes, size_t head_max, size_t *end,
                struct http_refusal *refusal)
{
    const char *data = bytes.data;
    size_t word_max = scan->start + head_max < bytes.len ? scan->start + head_max : bytes.len;
    for (size_t i = scan->at; i < bytes.len && i - scan->start < head_max;) {
        if (word_max >= i + sizeof(uint64_t) && have_no_control(data + i)) {
            i += sizeof(uint64_t);
            scan->at = i;
            continue;
        }
        unsigned class = class_of(data[i]);
        if (class <= BYTE_TOKEN) {
            scan->at = ++i;
            continue;
        }
        if (class != BYTE_CR) {
            return refuse(refusal, 400, class == BYTE_LF ? "LF without CR" : "control character in the head");
        }
        if (i + 1 == bytes.len) {
            return 0;
        }
        if (data[i + 1] != '\n') {
            return refuse(refusal, 400, "CR without LF");
        }
        int rc = end_line(scan, data, i, refusal);
        if (rc != 0) {
            *end = scan->at;
            return rc;
        }
        i = scan->at;
    }
    return scan->at - scan->start < head_max ? 0 : refuse(refusal, 431, "head too large");
}

static int
read_length(struct http_framing *framing, struct dyn_slice value, struct http_refusal *refusal)
{
    if (framing->has_length) {
        return refuse(refusal, 400, "several Content-Length");
    }
    framing->has_length = true;
    if (value.len == 0) {
        return refuse(refusal, 400, "empty Content-Length");
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.data[i])) {
            return refuse(refusal, 400, "Content-Length is not a number");
        }
        uint64_t digit = (uint64_t)(value.data[i] - '0');
        if (framing->length > (UINT64_MAX - 1 - digit) / 10) { /* UINT64_MAX itself means "unknown" */
            return refuse(refusal, 400, "Content-Length overflows");
        }
        framing->length = framing->length * 10 + digit;
    }
    return 0;
}

/* RFC 9112 6.1: of the codings we take only chunked, and only alone. */
static int
read_transfer_encoding(struct http_framing *framing, struct dyn_slice value, struct http_refusal *refusal)
{
    if (framing->has_transfer_encoding) {
        return refuse(refusal, 400, "several Transfer-Encoding");
    }
    framing->has_transfer_encoding = true;
    framing->chunked = dyn_slice_ieq(value, DYN_SLICE("chunked"));
    return framing->chunked ? 0 : refuse(refusal, 400, "Transfer-Encoding other than chunked");
}

/* RFC 9112 3.2: uri-host [":" port]. Letters are not told apart from what a name server would take. */
static int
read_host(struct http_framing *framing, struct dyn_slice value, struct http_refusal *refusal)
{
    if (framing->hosts++ > 0) {
        return refuse(refusal, 400, "several Host");
    }
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (class_of(c) != BYTE_TOKEN && c != ':' && c != '[' && c != ']') {
            return refuse(refusal, 400, "Host is not a host name");
        }
    }
    return 0;
}

int
http_guard_header(struct http_framing *framing, struct dyn_slice name, struct dyn_slice value,
                  struct http_refusal *refusal)
{
    if (!http_is_token(name)) { /* the parser's build lets blanks through: "Name :" */
        return refuse(refusal, 400, "header name");
    }
    if (!http_is_value(value)) {
        return refuse(refusal, 400, "header value");
    }
    switch (name.len) { /* cheaper than comparing each header with each name */
    case 4:
        return dyn_slice_ieq(name, DYN_SLICE("host")) ? read_host(framing, value, refusal) : 0;
    case 6:
        if (dyn_slice_ieq(name, DYN_SLICE("expect")) && dyn_slice_ieq(value, DYN_SLICE("100-continue"))) {
            framing->expects_continue = true;
        }
        return 0;
    case 14:
        return dyn_slice_ieq(name, DYN_SLICE("content-length")) ? read_length(framing, value, refusal) : 0;
    case 17:
        return dyn_slice_ieq(name, DYN_SLICE("transfer-encoding"))
                   ? read_transfer_encoding(framing, value, refusal)
                   : 0;
    default:
        return 0;
    }
}

int
http_guard_framing(const struct http_framing *framing, unsigned minor, struct http_refusal *refusal)
{
    if (framing->has_transfer_encoding && framing->has_length) {
        return refuse(refusal, 400, "Content-Length with Transfer-Encoding");
    }
    if (framing->has_transfer_encoding && minor == 0) {
        return refuse(refusal, 400, "Transfer-Encoding in HTTP/1.0");
    }
    if (framing->hosts == 0 && minor > 0) {
        return refuse(refusal, 400, "no Host");
    }
    return 0;
}
