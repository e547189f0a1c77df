/* Readable files with wrong values: unknown keys, kinds, types, limits, references. Each with all of its
 * problems, to the word and the column; those without any show what is accepted. */
#include "tests/unit/core/test_config_schema.h"

#define YAML          "test.yaml"
#define JSON          "test.json"
#define TEXT(literal) DYN_SLICE_INIT(literal)

struct problem_case {
    const char *what;
    const char *name;
    struct dyn_slice text;
    const char *problems; /* LINE:COLUMN: TEXT */
};

static const struct problem_case cases[] = {
    {"text beyond ASCII is shown as it is", YAML,
     TEXT("p\303\266rt: 1\n"
          "port: \"\303\205\"\n"
          "mode: \303\205\303\266\342\202\254\n"),
     "1:1: unknown key 'p\303\266rt'\n"
     "2:7: 'port' must be a whole number; quotes make it text, leave them out\n"
     "3:7: 'mode' must be one of single, fallback, spread, not '\303\205\303\266\342\202\254'\n"},
    {"a mistyped key", YAML, TEXT("prot: 1\n"), "1:1: unknown key 'prot', did you mean 'port'?\n"},
    {"no key is near", YAML, TEXT("zzz: 1\ntls: {certificate: c, qqq: 2}\n"),
     "1:1: unknown key 'zzz'\n"
     "2:23: unknown key 'qqq' in 'tls'; known are certificate, key, level\n"},
    {"capitals", YAML, TEXT("LISTEN: x\n"), "1:1: unknown key 'LISTEN', did you mean 'listen'?\n"},
    {"several unknown, all told", YAML, TEXT("a: 1\nb: 2\nrati0: 1\n"),
     "1:1: unknown key 'a'\n"
     "2:1: unknown key 'b'\n"
     "3:1: unknown key 'rati0', did you mean 'ratio'?\n"},
    {"in a list item of several parts", YAML,
     TEXT("targets:\n- name: x\n  base_ur: y\n  wieght: 2\n  nonsense: 3\n"),
     "3:3: unknown key 'base_ur' in 'targets[0]', did you mean 'base_url'?\n"
     "4:3: unknown key 'wieght' in 'targets[0]', did you mean 'weight'?\n"
     "5:3: unknown key 'nonsense' in 'targets[0]'; known are name, weight, routes, hedge, api_key, base_url, "
     "models\n"},
    {"nested list", YAML,
     TEXT("targets:\n"
          "- name: x\n"
          "  routes:\n"
          "  - name: r\n"
          "  - name: s\n"
          "    csot: 2\n"),
     "6:5: unknown key 'csot' in 'targets[0].routes[1]', did you mean 'cost'?\n"},
    {"merge key", YAML, TEXT("<<: {port: 1}\n"), "1:1: unknown key '<<'\n"},
    {"empty key", YAML, TEXT(": 1\n"), "1:1: not YAML: a key was expected here; check the indentation\n"},
    {"key with a control character escape", YAML, TEXT("\"li\\x01sten\\n\": 1\n"),
     "1:1: unknown key 'li?sten?', did you mean 'listen'?\n"},
    {"long key is cut", YAML,
     TEXT("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
          "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
          "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
          "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
          "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
          ": 1\n"),
     "1:1: unknown key 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...'\n"},
    {"json unknown", JSON, TEXT("{\"prot\": 1, \"tls\": {\"certificat\": \"x\"}}"),
     "1:2: unknown key 'prot', did you mean 'port'?\n"
     "1:20: the key 'certificate' is missing in 'tls'\n"
     "1:21: unknown key 'certificat' in 'tls', did you mean 'certificate'?\n"},
    {"scalar for a list", YAML, TEXT("origins: a\n"),
     "1:10: expected a list here: 'origins' is a list of texts, like [a, b]\n"},
    {"scalar for int list", YAML, TEXT("codes: 429\n"),
     "1:8: expected a list here: 'codes' is a list of whole numbers, like [1, 2]\n"},
    {"map for a list", YAML, TEXT("origins: {a: b}\n"),
     "1:10: expected a list here: 'origins' is a list of texts, like [a, b]\n"},
    {"list for a scalar", YAML, TEXT("port: [1]\n"),
     "1:7: expected a single value here: 'port' is a whole number\n"},
    {"map for a scalar", YAML, TEXT("listen: {a: b}\n"),
     "1:9: expected a single value here: 'listen' is a text\n"},
    {"scalar for a section", YAML, TEXT("tls: x\n"),
     "1:6: expected keys and values here: 'tls' is a section with keys of its own\n"},
    {"list for a section", YAML, TEXT("tls: [certificate]\n"),
     "1:6: expected keys and values here: 'tls' is a section with keys of its own\n"},
    {"scalar for a list of sections", YAML, TEXT("targets: x\n"),
     "1:10: expected a list here: 'targets' is a list of sections, each with keys of its own\n"},
    {"map for a list of sections", YAML, TEXT("targets: {name: x}\n"),
     "1:10: expected a list here: 'targets' is a list of sections, each with keys of its own\n"},
    {"scalars in a list of sections", YAML, TEXT("targets:\n- one\n- ~\n- [a]\n- name: ok\n"),
     "2:3: expected keys and values here: 'targets[0]' is a section with keys of its own\n"
     "3:3: expected keys and values here: 'targets[1]' is a section with keys of its own\n"
     "4:3: expected keys and values here: 'targets[2]' is a section with keys of its own\n"},
    {"scalar for a map", YAML, TEXT("headers: x\n"),
     "1:10: expected keys and values here: 'headers' is names and texts, like {name: text}\n"},
    {"list in a map", YAML, TEXT("headers: {a: [b], c: {d: e}, f: g}\n"),
     "1:14: 'headers.a' must be a text\n"
     "1:22: 'headers.c' must be a text\n"},
    {"list in a list", YAML, TEXT("origins: [a, [b], {c: d}, ~]\n"),
     "1:14: 'origins[1]' must be a text\n"
     "1:19: 'origins[2]' must be a text\n"
     "1:27: 'origins[3]' must be a text\n"},
    {"the top is a list", YAML, TEXT("- a\n- b\n"),
     "1:1: expected keys and values here: a configuration is a map at its top\n"},
    {"the top is a scalar", YAML, TEXT("just text\n"),
     "1:1: expected keys and values here: a configuration is a map at its top\n"},
    {"the top is a JSON list", JSON, TEXT("[1]"),
     "1:1: expected keys and values here: a configuration is a map at its top\n"},
    {"json number for a text", JSON, TEXT("{\"listen\": 8080, \"note\": true, \"mode\": 1}"),
     "1:12: 'listen' must be a text in quotes\n"
     "1:26: 'note' must be a text in quotes\n"
     "1:40: 'mode' must be a text in quotes\n"},
    {"json numbers in texts", JSON, TEXT("{\"origins\": [\"a\", 1], \"headers\": {\"a\": false}}"),
     "1:19: 'origins[1]' must be a text in quotes\n"
     "1:40: 'headers.a' must be a text in quotes\n"},
    {"any plain scalar is text", YAML,
     TEXT("listen: 8080\n"
          "note: true\n"
          "fallback: 1.0\n"
          "origins: [1, no, 2001-01-01]\n"),
     "3:11: 'fallback' is no target\n"},
    {"bools", YAML, TEXT("verbose: maybe\n"), "1:10: 'verbose' must be true or false, not 'maybe'\n"},
    {"number that is another JSON value", YAML, TEXT("weight: true\nratio: \"x\"\noffset: null_\n"),
     "1:9: 'weight' must be a number, not 'true'\n"
     "2:8: 'ratio' must be a number; quotes make it text, leave them out\n"
     "3:9: 'offset' must be a whole number, not 'null_'\n"},
    {"number with junk behind", YAML, TEXT("weight: 1 2\nratio: 1}\n"),
     "1:9: 'weight' must be a number, not '1 2'\n"
     "2:8: 'ratio' must be a number, not '1}'\n"},
    {"number that is very long", YAML,
     TEXT("weight: 11111111111111111111111111111111111111111111111111111111111111111111111111111111\n"),
     "1:9: 'weight' must be a number, not '111111111111111111111111111111111111111111111111111111111...'\n"},
    {"bool in quotes", YAML, TEXT("verbose: \"true\"\n"),
     "1:10: 'verbose' must be true or false; quotes make it text, leave them out\n"},
    {"bool as number", YAML, TEXT("verbose: 1\n"), "1:10: 'verbose' must be true or false, not '1'\n"},
    {"json bool in quotes", JSON, TEXT("{\"verbose\": \"true\"}"),
     "1:13: 'verbose' must be true or false; quotes make it text, leave them out\n"},
    {"int as word", YAML, TEXT("port: abc\n"), "1:7: 'port' must be a whole number, not 'abc'\n"},
    {"int in quotes", YAML, TEXT("port: \"5\"\n"),
     "1:7: 'port' must be a whole number; quotes make it text, leave them out\n"},
    {"int as fraction", YAML, TEXT("port: 80.0\n"), "1:7: 'port' must be a whole number, not '80.0'\n"},
    {"int as exponent", JSON, TEXT("{\"port\": 8e3}"), "1:10: 'port' must be a whole number, not '8e3'\n"},
    {"int below", YAML, TEXT("port: 0\n"), "1:7: 'port' must be from 1 to 65535, not 0\n"},
    {"int above", YAML, TEXT("port: 65536\n"), "1:7: 'port' must be from 1 to 65535, not 65536\n"},
    {"int negative", YAML, TEXT("port: -1\n"), "1:7: 'port' must be from 1 to 65535, not -1\n"},
    {"int hexadecimal", YAML, TEXT("port: 0x50\n"), "1:7: 'port' must be a whole number, not '0x50'\n"},
    {"int octal", YAML, TEXT("port: 0123\n"),
     "1:7: 'port' must be a whole number without leading zeros (which mean octal to some readers), not "
     "'0123'\n"},
    {"int with plus and underscore", YAML, TEXT("port: +8_080\n"), ""},
    {"int with underscores at odd places", YAML, TEXT("port: _80\noffset: 8__0\n"),
     "1:7: 'port' must be a whole number, not '_80'\n"
     "2:9: 'offset' must be a whole number, not '8__0'\n"},
    {"int beyond 64 bits", YAML, TEXT("offset: 9223372036854775808\n"),
     "1:9: 'offset' is out of range: '9223372036854775808' does not fit 64 bits\n"},
    {"int below 64 bits", YAML, TEXT("offset: -9223372036854775809\n"),
     "1:9: 'offset' is out of range: '-9223372036854775809' does not fit 64 bits\n"},
    {"int far beyond 64 bits", YAML, TEXT("offset: 99999999999999999999999999\n"),
     "1:9: 'offset' is out of range: '99999999999999999999999999' does not fit 64 bits\n"},
    {"largest int", YAML, TEXT("offset: 9223372036854775807\n"), ""},
    {"sign only", YAML, TEXT("offset: -\n"), "1:9: not YAML: a '- ' item cannot stand here\n"},
    {"sign only, plus", YAML, TEXT("offset: +\n"), "1:9: 'offset' must be a whole number, not '+'\n"},
    {"in an item", YAML, TEXT("targets: [{name: a, weight: 101}, {name: b, weight: 100}]\n"),
     "1:29: 'targets[0].weight' must be from 1 to 100, not 101\n"},
    {"at least", YAML, TEXT("targets: [{name: a, routes: [{name: b, cost: -1}]}]\n"),
     "1:46: 'targets[0].routes[0].cost' must be at least 0, not -1\n"},
    {"int list", YAML, TEXT("codes: [399, 400, 599, 600, \"500\", x, ~, [1]]\n"),
     "1:9: 'codes[0]' must be from 400 to 599, not 399\n"
     "1:24: 'codes[3]' must be from 400 to 599, not 600\n"
     "1:29: 'codes[4]' must be a whole number; quotes make it text, leave them out\n"
     "1:36: 'codes[5]' must be a whole number, not 'x'\n"
     "1:39: 'codes[6]' must be a whole number\n"
     "1:42: 'codes[7]' must be a whole number\n"},
    {"number as word", YAML, TEXT("ratio: half\n"), "1:8: 'ratio' must be a number, not 'half'\n"},
    {"NaN", YAML, TEXT("ratio: .nan\nweight: NaN\n"),
     "1:8: 'ratio' must be a finite number, not '.nan'\n"
     "2:9: 'weight' must be a finite number, not 'NaN'\n"},
    {"infinity", YAML, TEXT("ratio: .inf\nweight: -.INF\n"),
     "1:8: 'ratio' must be a finite number, not '.inf'\n"
     "2:9: 'weight' must be a finite number, not '-.INF'\n"},
    {"inf as Go writes it", YAML, TEXT("ratio: +Inf\nweight: infinity\n"),
     "1:8: 'ratio' must be a finite number, not '+Inf'\n"
     "2:9: 'weight' must be a finite number, not 'infinity'\n"},
    {"number too large", YAML, TEXT("weight: 1e999\n"),
     "1:9: 'weight' is out of range: '1e999' is too large\n"},
    {"number above", YAML, TEXT("ratio: 1.0001\n"), "1:8: 'ratio' must be from 0 to 1, not 1.0001\n"},
    {"number below", YAML, TEXT("ratio: -0.1\n"), "1:8: 'ratio' must be from 0 to 1, not -0.1\n"},
    {"number at the limits", YAML, TEXT("ratio: 1.0\nweight: 1.7976931348623157e308\n"), ""},
    {"number in quotes", YAML, TEXT("ratio: \"0.5\"\n"),
     "1:8: 'ratio' must be a number; quotes make it text, leave them out\n"},
    {"two points", YAML, TEXT("ratio: 0.5.1\n"), "1:8: 'ratio' must be a number, not '0.5.1'\n"},
    {"comma", YAML, TEXT("ratio: 0,5\n"), "1:8: 'ratio' must be a number, not '0,5'\n"},
    {"number spellings of YAML", YAML, TEXT("ratio: +.5\nweight: 1_000.\n"), ""},
    {"hex float", YAML, TEXT("weight: 0x1p3\n"), "1:9: 'weight' must be a number, not '0x1p3'\n"},
    {"exponent only", YAML, TEXT("weight: e5\nratio: 1e\n"),
     "1:9: 'weight' must be a number, not 'e5'\n"
     "2:8: 'ratio' must be a number, not '1e'\n"},
    {"size below and above", YAML, TEXT("body: 1023\n"), "1:7: 'body' must be from 1KiB to 1GiB, not 1023\n"},
    {"size above", YAML, TEXT("body: 1025MiB\n"), "1:7: 'body' must be from 1KiB to 1GiB, not 1025MiB\n"},
    {"size at the limit", YAML, TEXT("body: 1GiB\n"), ""},
    {"size unit unknown", YAML, TEXT("body: 10mb\n"),
     "1:7: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not "
     "'10mb'\n"},
    {"size unit short", YAML, TEXT("body: 10M\n"),
     "1:7: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not "
     "'10M'\n"},
    {"size negative", YAML, TEXT("body: -5\n"), "1:7: 'body' must not be negative, but is '-5'\n"},
    {"size not whole", YAML, TEXT("body: 1.0001KiB\n"),
     "1:7: 'body' must be a whole number of bytes, which '1.0001KiB' is not\n"},
    {"size too large", YAML, TEXT("body: 99999999999TiB\n"),
     "1:7: 'body' is out of range: '99999999999TiB' does not fit 64 bits\n"},
    {"size too many digits", YAML, TEXT("body: 99999999999999999999999\n"),
     "1:7: 'body' is out of range: '99999999999999999999999' does not fit 64 bits\n"},
    {"size many decimals", YAML, TEXT("body: 1.00000001GiB\n"),
     "1:7: 'body' must be a whole number of bytes, which '1.00000001GiB' is not\n"},
    {"size empty", YAML, TEXT("body: \"\"\n"),
     "1:7: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not ''\n"},
    {"size point", YAML, TEXT("body: .\n"),
     "1:7: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not "
     "'.'\n"},
    {"size junk behind", YAML, TEXT("body: 1KiB2\n"),
     "1:7: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not "
     "'1KiB2'\n"},
    {"size as list", YAML, TEXT("body: [1]\n"),
     "1:7: expected a single value here: 'body' is a size, like 64KiB\n"},
    {"size json forms", JSON, TEXT("{\"body\": 2e3}"),
     "1:10: 'body' must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not "
     "'2e3'\n"},
    {"duration bare", YAML, TEXT("idle: 30\n"), "1:7: 'idle' is a duration and needs a unit: 30s or 30ms?\n"},
    {"duration bare in JSON", JSON, TEXT("{\"idle\": 30}"),
     "1:10: 'idle' is a duration and needs a unit: 30s or 30ms?\n"},
    {"duration bare in quotes", JSON, TEXT("{\"idle\": \"30\"}"),
     "1:10: 'idle' is a duration and needs a unit: 30s or 30ms?\n"},
    {"duration unit unknown", YAML, TEXT("idle: 30sec\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not '30sec'\n"},
    {"duration word", YAML, TEXT("idle: soon\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not 'soon'\n"},
    {"duration negative", YAML, TEXT("idle: -5s\n"), "1:7: 'idle' must not be negative, but is '-5s'\n"},
    {"duration below", YAML, TEXT("idle: 99ms\n"), "1:7: 'idle' must be from 100ms to 1h, not 99ms\n"},
    {"duration above", YAML, TEXT("idle: 1h1ms\n"), "1:7: 'idle' must be from 100ms to 1h, not 1h1ms\n"},
    {"duration at the limits", YAML, TEXT("idle: 1h\n"), ""},
    {"duration zero", YAML, TEXT("idle: 0\n"), "1:7: 'idle' must be from 100ms to 1h, not 0\n"},
    {"duration fine", YAML, TEXT("idle: 100.5ms\n"),
     "1:7: 'idle' must be whole milliseconds, which '100.5ms' is not\n"},
    {"duration micro", YAML, TEXT("idle: 1500us\n"),
     "1:7: 'idle' must be whole milliseconds, which '1500us' is not\n"},
    {"duration too long", YAML, TEXT("idle: 99999999999h\n"),
     "1:7: 'idle' is out of range: '99999999999h' is too long\n"},
    {"duration sum too long", YAML, TEXT("idle: 5000000h5000000h\n"),
     "1:7: 'idle' is out of range: '5000000h5000000h' is too long\n"},
    {"duration unit missing at the end", YAML, TEXT("idle: 1m30\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not '1m30'\n"},
    {"duration space", YAML, TEXT("idle: 1 m\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not '1 m'\n"},
    {"duration empty", YAML, TEXT("idle: \"\"\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not ''\n"},
    {"duration point", YAML, TEXT("idle: .s\n"),
     "1:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not '.s'\n"},
    {"enum", YAML, TEXT("mode: singel\n"),
     "1:7: 'mode' must be one of single, fallback, spread, not 'singel'; did you mean 'single'?\n"},
    {"enum far", YAML, TEXT("mode: banana\n"),
     "1:7: 'mode' must be one of single, fallback, spread, not 'banana'\n"},
    {"enum capitals", YAML, TEXT("mode: Single\n"),
     "1:7: 'mode' must be one of single, fallback, spread, not 'Single'; did you mean 'single'?\n"},
    {"enum not supported", YAML, TEXT("mode: cheapest\n"),
     "1:7: 'mode: cheapest' is not supported in this version\n"},
    {"enum empty", YAML, TEXT("mode: \"\"\n"),
     "1:7: 'mode' must be one of single, fallback, spread, not ''\n"},
    {"required", YAML, TEXT("tls: {}\ntargets: [{}, {name: ~}, {name: x}]\n"),
     "1:6: the key 'certificate' is missing in 'tls'\n"
     "2:11: the key 'name' is missing in 'targets[0]'\n"
     "2:15: the key 'name' is missing in 'targets[1]'\n"},
    {"required null section is no section", YAML, TEXT("tls: ~\n"), ""},
    {"a long way is cut", YAML,
     TEXT("headers: {aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: [b]}\n"),
     "1:83: 'headers.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' must be a text\n"},
    {"duplicate", YAML, TEXT("port: 1\nlisten: a\nport: 2\nport: 3\n"),
     "3:1: key 'port' was already given in line 1\n"
     "4:1: key 'port' was already given in line 1\n"},
    {"duplicate nested", YAML, TEXT("headers: {a: b, \"a\": c}\ntargets:\n- name: x\n  name: y\n"),
     "1:17: key 'a' was already given in line 1\n"
     "4:3: key 'name' was already given in line 3\n"},
    {"duplicate in what is not served", YAML, TEXT("plugins: {a: 1, a: 2}\n"),
     "1:1: 'plugins' is not supported in this version\n"
     "1:17: key 'a' was already given in line 1\n"},
    {"json duplicate", JSON, TEXT("{\"port\": 1,\n \"po\\u0072t\": 2}"),
     "2:2: key 'port' was already given in line 1\n"},
    {"check", YAML, TEXT("targets: [{name: a}]\nfallback: b\n"), "2:11: 'fallback' is no target\n"},
    {"unsupported", YAML, TEXT("plugins: [a, {b: c}]\ntargets: [{name: x, hedge: 1}]\n"),
     "1:1: 'plugins' is not supported in this version\n"
     "2:21: 'targets[0].hedge' is not supported in this version\n"},
    {"unsupported null", YAML, TEXT("plugins: ~\n"), ""},
    {"secret literal", YAML, TEXT("targets:\n- name: x\n  api_key: sk-verysecret\n"),
     "3:12: warning: 'targets[0].api_key' holds a secret in plain text; refer to it with ${NAME} or "
     "${file:PATH}\n"},
    {"secret reference", YAML,
     TEXT("targets:\n"
          "- name: x\n"
          "  api_key: ${TOKEN}\n"
          "- name: y\n"
          "  api_key: Bearer ${A}\n"),
     ""},
    {"secret empty", YAML, TEXT("tls: {certificate: c, key: \"\"}\n"), ""},
    {"secret of a wrong kind", YAML, TEXT("tls: {certificate: c, key: [sk-verysecret]}\n"),
     "1:28: expected a single value here: 'tls.key' is a text\n"},
    {"secret as a JSON number", JSON, TEXT("{\"tls\": {\"certificate\": \"c\", \"key\": 12345678}}"),
     "1:37: 'tls.key' must be a text in quotes\n"},
    {"undefined", YAML, TEXT("listen: ${NOPE}\nnote: \"${A} ${NOPE2} ${NOPE3}\"\n"),
     "1:9: 'listen' refers to the environment variable NOPE, which is not set\n"
     "2:7: 'note' refers to the environment variable NOPE2, which is not set\n"
     "2:7: 'note' refers to the environment variable NOPE3, which is not set\n"},
    {"digits in a name", YAML, TEXT("listen: ${N0_9}\nnote: ${_}\n"),
     "1:9: 'listen' refers to the environment variable N0_9, which is not set\n"
     "2:7: 'note' refers to the environment variable _, which is not set\n"},
    {"undefined in lists and maps", YAML, TEXT("origins: [a, \"${NOPE}\"]\nheaders: {x: \"${NOPE}\"}\n"),
     "1:14: 'origins[1]' refers to the environment variable NOPE, which is not set\n"
     "2:14: 'headers.x' refers to the environment variable NOPE, which is not set\n"},
    {"dollar is data", YAML, TEXT("listen: $A\nnote: \"$ $$ $100 {A} $ {A} $\"\n"), ""},
    {"near references", YAML, TEXT("listen: ${A-b}\nnote: \"${} ${1A} ${A\"\norigins: [\"${A:-x}\"]\n"),
     "1:9: warning: 'listen' has a '${' that is taken as text: references are ${NAME} and ${file:PATH}\n"
     "2:7: warning: 'note' has a '${' that is taken as text: references are ${NAME} and ${file:PATH}\n"
     "3:11: warning: 'origins[0]' has a '${' that is taken as text: references are ${NAME} and "
     "${file:PATH}\n"},
    {"unreadable file", YAML, TEXT("listen: ${file:/nonexistent/x}\n"),
     "1:9: 'listen' refers to the file /nonexistent/x, No such file or directory\n"},
    {"folder", YAML, TEXT("listen: ${file:/tmp}\n"),
     "1:9: 'listen' refers to the file /tmp, which is a folder\n"},
    {"device", YAML, TEXT("listen: ${file:/dev/null}\n"),
     "1:9: 'listen' refers to the file /dev/null, which is not a regular file\n"},
    {"empty file name", YAML, TEXT("listen: ${file:}\n"),
     "1:9: warning: 'listen' has a '${' that is taken as text: references are ${NAME} and ${file:PATH}\n"},
    {"not in keys, numbers", YAML, TEXT("headers: {\"${A}\": x}\nport: ${A}\nidle: ${A}\n"),
     "2:7: 'port' must be a whole number, not '${A}'\n"
     "3:7: 'idle' must be a duration, like 300ms, 30s or 1h30m, not '${A}'\n"},
};

static void
every_problem_is_told_with_its_place(void **state)
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_problem_is_told_with_its_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
