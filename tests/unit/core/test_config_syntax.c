/* Files that are wrong before any schema: YAML that is refused, bytes that are no text, JSON that is not
 * JSON. Each with its problem, to the word and the column. */
#include "tests/unit/core/test_config_schema.h"

#define YAML          "test.yaml"
#define JSON          "test.json"
#define UPPER_JSON    "test.JSON"
#define TEXT(literal) DYN_SLICE_INIT(literal)

struct problem_case {
    const char *what;
    const char *name;
    struct dyn_slice text;
    const char *problems; /* LINE:COLUMN: TEXT */
};

static const struct problem_case cases[] = {
    {"anchor", YAML, TEXT("listen: &a x\nnote: *a\n"),
     "1:9: anchors (&name) are not supported; write the value where it is needed\n"
     "2:7: aliases (*name) are not supported; write the value out, or put it in quotes\n"},
    {"anchors everywhere", YAML, TEXT("origins: &l [a]\ntls: &m {certificate: c}\n"),
     "1:10: anchors (&name) are not supported; write the value where it is needed\n"
     "2:6: anchors (&name) are not supported; write the value where it is needed\n"},
    {"alias key", YAML, TEXT("*a : b\n"),
     "1:1: aliases (*name) are not supported; write the value out, or put it in quotes\n"
     "1:1: a key has to be plain text\n"},
    {"tag", YAML, TEXT("port: !!int 5\nlisten: !foo x\n"),
     "1:7: tags (!name) are not supported; leave it out, types are known here\n"
     "2:9: tags (!name) are not supported; leave it out, types are known here\n"},
    {"tag on containers", YAML, TEXT("origins: !!seq [a]\ntls: !!map {certificate: c}\n"),
     "1:10: tags (!name) are not supported; leave it out, types are known here\n"
     "2:6: tags (!name) are not supported; leave it out, types are known here\n"},
    {"binary tag", YAML, TEXT("listen: !!binary aGVsbG8=\n"),
     "1:9: tags (!name) are not supported; leave it out, types are known here\n"},
    {"two documents", YAML, TEXT("port: 1\n---\nport: 2\n"),
     "2:1: a second document begins here; a configuration is one document\n"},
    {"document after an end", YAML, TEXT("port: 1\n...\nport: 2\n"),
     "3:1: not YAML: text after the end of the document\n"},
    {"directive", YAML, TEXT("%YAML 1.1\n---\nport: 1\n"),
     "1:1: directives (%NAME) are not supported; leave the line out\n"},
    {"directive after the end", YAML, TEXT("port: 1\n...\n%TAG ! tag:x,2000:\n--- \na: b\n"),
     "3:1: directives (%NAME) are not supported; leave the line out\n"},
    {"block scalar header", YAML, TEXT("note: >x\n  a\n"),
     "1:8: not YAML: while scanning a block scalar, did not find expected comment or line break\n"},
    {"no schema problem beside a syntax problem", YAML, TEXT("prot: 1\nnote: >x\n  a\n"),
     "2:8: not YAML: while scanning a block scalar, did not find expected comment or line break\n"},
    {"UTF-16 needs both bytes", YAML, TEXT("\377\377x"), "1:1: not valid UTF-8\n"},
    {"complex key", YAML, TEXT("? [a]\n: b\n"), "1:3: a key has to be plain text\n"},
    {"map as a key", YAML, TEXT("{a: b}: c\n"), "1:1: a key has to be plain text\n"},
    {"tab indentation", YAML, TEXT("tls:\n\tcertificate: x\n"),
     "2:1: not YAML: indent with spaces, not with a tab\n"},
    {"tab after the key is fine", YAML, TEXT("port:\t5\t\n"), ""},
    {"wrong indentation", YAML, TEXT("tls:\n  certificate: a\n key: b\n"),
     "3:2: not YAML: a key was expected here; check the indentation\n"},
    {"colon in a value", YAML, TEXT("listen: a: b\n"),
     "1:10: not YAML: a ':' where no key can stand; put a value with ': ' in it in quotes, or check the "
     "indentation\n"},
    {"unclosed quote", YAML, TEXT("listen: \"abc\nport: 1\n"),
     "1:9: not YAML: the quote that opens here is not closed\n"},
    {"unclosed list", YAML, TEXT("origins: [a, b\nport: 1\n"),
     "2:5: not YAML: the list is not closed: ',' or ']' was expected here\n"},
    {"unclosed brace", YAML, TEXT("tls: {certificate: a\nport: 1\n"),
     "2:5: not YAML: the braces are not closed: ',' or '}' was expected here\n"},
    {"reserved character", YAML, TEXT("listen: @x\n"),
     "1:9: not YAML: a value cannot begin with this character; put it in quotes\n"},
    {"backtick", YAML, TEXT("listen: `x`\n"),
     "1:9: not YAML: a value cannot begin with this character; put it in quotes\n"},
    {"bad escape", YAML, TEXT("listen: \"\\q\"\n"),
     "1:10: not YAML: no escape that YAML knows; \\\\ is a backslash\n"},
    {"percent value", YAML, TEXT("listen: %x\n"),
     "1:9: not YAML: a value cannot begin with this character; put it in quotes\n"},
    {"key without colon", YAML, TEXT("port: 1\nlisten\n"), "2:1: not YAML: a key without its ':'\n"},
    {"list dash misplaced", YAML, TEXT("port: 1\n- a\n"),
     "2:1: not YAML: a key was expected here; check the indentation\n"},
    {"dash in a value", YAML, TEXT("port: - 1\n"), "1:7: not YAML: a '- ' item cannot stand here\n"},
    {"truncated", YAML, TEXT("targets:\n- name: x\n  routes:\n  - na"),
     "4:5: expected keys and values here: 'targets[0].routes[0]' is a section with keys of its own\n"},
    {"truncated in a key", YAML, TEXT("targets:\n- name: x\n  api_"),
     "3:3: not YAML: a key without its ':'\n"},
    {"truncated escape", YAML, TEXT("listen: \"a\\"),
     "1:11: not YAML: no escape that YAML knows; \\\\ is a backslash\n"},
    {"NUL escape", YAML, TEXT("listen: \"a\\0b\"\n"), "1:9: a NUL character has no place in a value\n"},
    {"NUL", YAML, TEXT("port: 1\nlisten: a\000b\n"), "2:10: a NUL byte; is this a text file?\n"},
    {"NUL in JSON", JSON, TEXT("{\"listen\": \"a\000b\"}"), "1:14: a NUL byte; is this a text file?\n"},
    {"invalid UTF-8", YAML, TEXT("port: 1\nnote: \303\251\377\n"), "2:8: not valid UTF-8\n"},
    {"overlong", YAML, TEXT("note: \300\257\n"), "1:7: not valid UTF-8\n"},
    {"surrogate", YAML, TEXT("note: \355\240\200\n"), "1:7: not valid UTF-8\n"},
    {"truncated character", YAML, TEXT("note: \342\202"), "1:7: not valid UTF-8\n"},
    {"invalid UTF-8 in JSON", JSON, TEXT("{\"note\": \"\377\"}"), "1:11: not valid UTF-8\n"},
    {"control character", YAML, TEXT("note: a\007b\n"), "1:8: a control character\n"},
    {"DEL", YAML, TEXT("note: \177\n"), "1:7: a control character\n"},
    {"C1", YAML, TEXT("note: \302\237\n"), "1:7: a control character\n"},
    {"noncharacter", YAML, TEXT("note: \357\277\277\n"), "1:7: not a character\n"},
    {"BOM in the middle", YAML, TEXT("note: \357\273\277x\n"),
     "1:7: a byte order mark in the middle of the text\n"},
    {"BOM in front", YAML, TEXT("\357\273\277prot: 1\n"), "1:1: unknown key 'prot', did you mean 'port'?\n"},
    {"BOM in front of JSON", JSON, TEXT("\357\273\277{\"prot\": 1}"),
     "1:2: unknown key 'prot', did you mean 'port'?\n"},
    {"UTF-16 LE", YAML, TEXT("\377\376p\000o\000"), "1:1: this is UTF-16; the file has to be UTF-8\n"},
    {"UTF-16 BE", YAML, TEXT("\376\377\000p"), "1:1: this is UTF-16; the file has to be UTF-8\n"},
    {"CRLF", YAML, TEXT("port: 1\r\n\r\nprot: 2\r\ntls:\r\n  key: \"\"\r\n"),
     "3:1: unknown key 'prot', did you mean 'port'?\n"
     "5:3: the key 'certificate' is missing in 'tls'\n"},
    {"CR", YAML, TEXT("port: 1\rprot: 2\r"), "2:1: unknown key 'prot', did you mean 'port'?\n"},
    {"columns count characters", YAML,
     TEXT("tls: {certificate: \"\303\244\303\266\303\274\342\202\254\360\237\230\200\", kee: x}\n"),
     "1:29: unknown key 'kee' in 'tls', did you mean 'key'?\n"},
    {"columns count characters in JSON", JSON,
     TEXT("{\"tls\": {\"certificate\": \"\303\244\303\266\303\274\342\202\254\360\237\230\200\", \"kee\": "
          "\"x\"}}"),
     "1:34: unknown key 'kee' in 'tls', did you mean 'key'?\n"},
    {"json comment", JSON, TEXT("{\"port\": 1 // no\n}"), "1:12: not JSON: expected ',' or '}'\n"},
    {"json hash comment", JSON, TEXT("# x\n{}"), "1:1: not JSON: expected a value\n"},
    {"json trailing comma", JSON, TEXT("{\"port\": 1,}"), "1:12: not JSON: expected a key in quotes\n"},
    {"json trailing data", JSON, TEXT("{\"port\": 1}\n{}"), "2:1: not JSON: data after the value\n"},
    {"json single quotes", JSON, TEXT("{'port': 1}"), "1:2: not JSON: expected a key in quotes\n"},
    {"json bare key", JSON, TEXT("{port: 1}"), "1:2: not JSON: expected a key in quotes\n"},
    {"json is no yaml", JSON, TEXT("port: 1\n"), "1:1: not JSON: expected a value\n"},
    {"json empty", JSON, TEXT(""), "1:1: not JSON: unexpected end of text\n"},
    {"json truncated", JSON, TEXT("{\"port\": 1, \"tls\": {\"certif"),
     "1:28: not JSON: unexpected end of text in a string\n"},
    {"json NaN", JSON, TEXT("{\"ratio\": NaN}"), "1:11: not JSON: expected a value\n"},
    {"json leading zero", JSON, TEXT("{\"port\": 080}"), "1:10: not JSON: invalid number\n"},
    {"json raw newline", JSON, TEXT("{\"note\": \"a\nb\"}"),
     "1:12: not JSON: control character in a string\n"},
    {"json NUL escape", JSON, TEXT("{\"note\": \"\\u0000\"}"), "1:11: not JSON: \\u0000 in a string\n"},
    {"json lone surrogate", JSON, TEXT("{\"note\": \"\\ud800\"}"), "1:11: not JSON: lone surrogate escape\n"},
    {"json number range", JSON, TEXT("{\"port\": 1e400}"),
     "1:10: 'port' must be a whole number, not '1e400'\n"},
    {"json CRLF places", JSON, TEXT("{\r\n  \"port\": 1,\r\n  \"prot\": 2\r\n}"),
     "3:3: unknown key 'prot', did you mean 'port'?\n"},
    {"star for everything", YAML, TEXT("origins: [*]\n"),
     "1:11: not YAML: a value that begins with '*' or '&' has to stand in quotes\n"},
    {"ampersand", YAML, TEXT("listen: & x\n"),
     "1:9: not YAML: a value that begins with '*' or '&' has to stand in quotes\n"},
    {"escape in single quotes is data", YAML, TEXT("listen: 'a\\q'\n"), ""},
    {"json in a yaml file", YAML, TEXT("{\"port\": 1, \"prot\": 2}"),
     "1:13: unknown key 'prot', did you mean 'port'?\n"},
    {"json with the extension in capitals", UPPER_JSON, TEXT("{\"port\": 1,}"),
     "1:12: not JSON: expected a key in quotes\n"},
    {"json wrong kinds", JSON,
     TEXT("{\"tls\": [], \"targets\": {}, \"origins\": {}, \"codes\": \"x\", \"headers\": [1]}"),
     "1:9: expected keys and values here: 'tls' is a section with keys of its own\n"
     "1:24: expected a list here: 'targets' is a list of sections, each with keys of its own\n"
     "1:39: expected a list here: 'origins' is a list of texts, like [a, b]\n"
     "1:52: expected a list here: 'codes' is a list of whole numbers, like [1, 2]\n"
     "1:68: expected keys and values here: 'headers' is names and texts, like {name: text}\n"},
};

static void
every_fault_is_told_with_its_place(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        config_t *config = parse_as(cases[i].name, cases[i].text);
        const char *problems = problems_text(config, &out);
        if (strcmp(problems, cases[i].problems) != 0) {
            fail_msg("%s:\n%sinstead of\n%s", cases[i].what, problems, cases[i].problems);
        }
        config_free(&config);
    }
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_fault_is_told_with_its_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
