"""The envelope's test vectors (proto/vectors), checked with another implementation of MessagePack than
the gateway's: that they say what they claim, and what a peer written in Python has to do with them. One folder a
minor version; what earlier versions wrote stays readable."""

import json
from pathlib import Path

import msgpack
import pytest

PROTO = Path(__file__).resolve().parents[2] / "proto"
VECTORS = PROTO / "vectors"
MINOR = 3  # of this version
BYTES = {"id", "cred", "idem_key", "type"}  # shown in hex
DEPTH_MAX, MEMBERS_MAX, VALUES_MAX, UNKNOWN_MAX = 8, 64, 1024, 16
# Members of the map in a worker's READY, and their limits (02-WORKER).
TEXT_MAX = {"name": 256, "provider": 128, "dialect": 64}
MODEL_MAX, MODELS_MAX, TARGETS_MAX = 1024, 4096, 64
SURFACES = ("none", "chat", "models", "model", "health", "ready", "metrics", "events",
            "embeddings", "explain")
STAGES = ("before_request", "during_stream", "after_request", "on_error")
VERDICTS = ("pass", "deny", "amend", "answer", "failed")
NEWER = {"error": "INTERNAL", "outcome": "error", "verdict": "failed"}  # what an unknown word of a later minor version becomes


def cases(name, with_minor=False):
    """The vectors of that name of every minor version that has such."""
    found = []
    for minor in range(MINOR + 1):
        path = VECTORS / f"1.{minor}" / name
        for vector in json.loads(path.read_text()) if path.exists() else []:
            values = (vector, minor) if with_minor else (vector,)
            found.append(pytest.param(*values, id=f"1.{minor}-{vector['name']}"))
    assert len(found) > 5
    return found


def no_extensions(code, data):
    raise ValueError(f"extension type {code}")


def unpack(header):
    """As pairs, so that a key given twice is seen."""
    return msgpack.unpackb(header, raw=False, strict_map_key=False, ext_hook=no_extensions,
                           timestamp=0, object_pairs_hook=lambda pairs: ("map", pairs))


def is_map(value):
    return isinstance(value, tuple)


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def shown(key, value):
    """A member as the vectors show it."""
    if key in BYTES:
        return as_bytes(value).hex()
    if key == "headers":
        return [[name, as_bytes(text).hex()] for name, text in value]
    if key == "facts":
        return {k: shown(k if k in ("headers", "usage") else None, v) for k, v in value[1]}
    if key == "usage":
        known = {"in", "out", "total", "cached", "reasoned", "written", "audio_in", "audio_out", "est"}
        return {k: shown(None, v) for k, v in value[1] if k in known}
    return str(value) if isinstance(value, int) and value > 2**53 else value


def words_of_this_version(members):
    """Replaces what only a later minor version knows, as 01-ENVELOPE says."""
    errors = (PROTO / "errors.def").read_text()
    if "error" in members and f"ERR({members['error']}," not in errors:
        members["error"] = NEWER["error"]
    if "outcome" in members and members["outcome"] not in ("ok", "error", "cancelled"):
        members["outcome"] = NEWER["outcome"]
    if "surface" in members and members["surface"] not in SURFACES:
        del members["surface"]
        members["refuse"] = "NOT_FOUND"
    if "verdict" in members and members["verdict"] not in VERDICTS:
        members["verdict"] = NEWER["verdict"]
    if "stage" in members and members["stage"] not in STAGES:
        del members["stage"]
    return members


def known_keys():
    fields = (PROTO / "env_fields.def").read_text().splitlines()
    return {line.split('"')[1] for line in fields if line.startswith("FIELD(")}


def members_of(header):
    tag, pairs = unpack(header)
    assert tag == "map"
    assert len({key for key, _ in pairs}) == len(pairs)
    keys = known_keys() | {"kind"}
    # nil, zero and false are absent, an empty text is not
    members = {k: shown(k, v) for k, v in pairs if k in keys and (v or v == "" or is_map(v))}
    return dict(pairs)["v"], members


@pytest.mark.parametrize("vector, minor", cases("kinds.json", with_minor=True))
def test_kinds(vector, minor):
    header = bytes.fromhex(vector["header"])
    version, members = members_of(header)
    assert version == [1, minor]
    assert members == vector["members"]
    assert list(members) == list(vector["members"])
    plain = msgpack.unpackb(header, raw=False)
    assert msgpack.packb(plain, use_bin_type=True) == header, "not the shortest form"
    if members["kind"] == "event":
        assert isinstance(msgpack.unpackb(bytes.fromhex(vector["body"])), dict)


@pytest.mark.parametrize("vector", cases("forms.json"))
def test_forms(vector):
    (major, minor), members = members_of(bytes.fromhex(vector["header"]))
    assert major == 1
    if minor > MINOR:
        members = words_of_this_version(members)
    assert members == vector["members"]


def nesting(value):
    if is_map(value):
        return 1 + max((nesting(v) for _, v in value[1]), default=0)
    if isinstance(value, list):
        return 1 + max((nesting(v) for v in value), default=0)
    return 0


def count(value):
    if is_map(value):
        return 1 + sum(count(k) + count(v) for k, v in value[1])
    return 1 + sum(count(v) for v in value) if isinstance(value, list) else 1


def text_limits():
    for line in (PROTO / "env_fields.def").read_text().splitlines():
        if line.startswith("FIELD("):
            key, _, kind, limit, _ = [part.strip(' "()') for part in line[len("FIELD("):].split(",")]
            if kind in ("TEXT", "BYTES"):
                yield key, int(limit)


def passes_a_limit(pairs):
    limits = dict(text_limits())
    unknown = {k for k, _ in pairs} - known_keys() - {"v", "kind"}
    value = ("map", pairs)
    members = dict(pairs)
    too_long = [k for k, v in pairs if k in limits and isinstance(v, (str, bytes)) and len(as_bytes(v)) > limits[k]]
    headers = members.get("headers")
    headers = headers if isinstance(headers, list) else []
    names = [pair[0] for pair in headers if isinstance(pair, list)]
    return (
        nesting(value) > DEPTH_MAX or count(value) > VALUES_MAX or len(pairs) > MEMBERS_MAX
        or len(unknown) > UNKNOWN_MAX or bool(too_long)
        or len(headers) > 32 or any(len(name) > 128 for name in names)
    )


@pytest.mark.parametrize("vector", cases("refused.json"))
def test_refused(vector):
    """That each breaks a rule for the reason given, as far as it can be told without our decoder."""
    header = bytes.fromhex(vector["header"])
    error = vector["error"]
    try:
        value = unpack(header)
    except (ValueError, msgpack.UnpackException, RecursionError):
        assert error == "invalid"
        return
    if not is_map(value):
        assert error == "invalid"
        return
    pairs = value[1]
    members = dict(pairs)
    version = members.get("v")
    if error == "limit":
        assert passes_a_limit(pairs)
    elif error == "version":
        assert version[0] != 1
    elif error == "ignored":
        assert version[0] == 1 and version[1] > MINOR
    else:
        assert error == "invalid"
        assert not passes_a_limit(pairs)
        assert version is None or version in ([1, 0], [1, 1], [1, 2], [1, 3]) or not (
            isinstance(version, list) and len(version) == 2
            and all(type(number) is int and 0 <= number <= 65535 for number in version)
        )


# ---- bodies, since 1.1 ----


@pytest.mark.parametrize("vector", cases("bodies.json"))
def test_bodies(vector):
    """That the sizes are those of the table in 01-ENVELOPE."""
    (_, minor), members = members_of(bytes.fromhex(vector["header"]))
    assert members["kind"] == vector["kind"]
    limits = {"ask": 2**27, "vote": 2**27, "heartbeat": 2**20 if minor >= 2 else 0, "chunk": 32768, "end": 2**20, "ready": 2**20, "event": 2**20, "request": 2**27}
    limit = limits.get(vector["kind"], 0)
    assert ("error" in vector) == (vector["body_bytes"] > limit)


@pytest.mark.parametrize("vector", cases("health.json"))
def test_health(vector):
    """That the bytes are the map that is shown, and the broken ones broken or beyond a limit."""
    body = bytes.fromhex(vector["body"])
    error = vector.get("error")
    if error is None:
        assert map_of(body) == vector["map"]
    elif error == "limit":
        assert len(map_of(body)["targets"]) > 256
    else:
        with pytest.raises((ValueError, AssertionError, msgpack.UnpackException)):
            map_of(body)


def without_doubles(pairs):
    assert len({key for key, _ in pairs}) == len(pairs), "a key stands twice"
    assert all(isinstance(key, str) for key, _ in pairs), "a key is not text"
    return dict(pairs)


def map_of(body):
    value = msgpack.unpackb(body, raw=False, strict_map_key=False, ext_hook=no_extensions,
                            object_pairs_hook=without_doubles)
    assert isinstance(value, dict)
    return value


def wrong_text(value, limit):
    """The reason why a text of the map is refused, or None."""
    if not isinstance(value, str):
        return "invalid"
    if not 1 <= len(value.encode()) <= limit:
        return "limit"
    return "invalid" if any(ord(c) < 32 or ord(c) == 127 for c in value) else None


def wrong_target(target):
    if not isinstance(target, dict) or "name" not in target:
        return "invalid"
    lists = [target.get("models", []), target.get("surfaces", [])]
    if not all(isinstance(items, list) for items in lists) or not isinstance(target.get("any_model", False), bool):
        return "invalid"
    reasons = [wrong_text(target[key], limit) for key, limit in TEXT_MAX.items() if key in target]
    reasons += [wrong_text(model, MODEL_MAX) for model in lists[0]]
    return next((reason for reason in reasons if reason), None)


def why_refused(members, body):
    """A router's judgement of a worker's READY (02-WORKER), written from the text."""
    try:
        targets = map_of(body).get("targets", []) if body else []
    except (ValueError, msgpack.UnpackException, AssertionError):
        return "invalid"
    if "worker" not in members or not isinstance(targets, list):
        return "invalid"
    if len(targets) > TARGETS_MAX:
        return "limit"
    wrong = next((reason for reason in map(wrong_target, targets) if reason), None)
    if wrong:
        return wrong
    if sum(len(target.get("models", [])) for target in targets) > MODELS_MAX:
        return "limit"
    names = [target["name"] for target in targets]
    return "invalid" if len(set(names)) != len(names) else None


@pytest.mark.parametrize("vector", cases("ready.json"))
def test_ready(vector):
    _, members = members_of(bytes.fromhex(vector["header"]))
    body = bytes.fromhex(vector["body"])
    assert members["kind"] == "ready" and members["role"] == "worker"
    assert why_refused(members, body) == vector.get("error")
    if "map" in vector:
        assert (map_of(body) if body else {}) == vector["map"]


@pytest.mark.parametrize("vector", cases("events.json"))
def test_events(vector):
    _, members = members_of(bytes.fromhex(vector["header"]))
    event = map_of(bytes.fromhex(vector["body"]))
    assert event == vector["map"]
    assert bytes.fromhex(vector["topic"]).decode() == members["topic"] == event["topic"]
    assert (members["node"], members["epoch"], members["event_seq"]) == (event["node"], event["epoch"], event["sequence"])
    assert 1 <= event["topic_sequence"] <= event["sequence"]


def with_bytes(value):
    """A map of the ledger's vectors; what is {"hex": ..} there are bytes."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else {k: with_bytes(v) for k, v in value.items()}
    return [with_bytes(item) for item in value] if isinstance(value, list) else value


def ledger_map(body):
    """The map that a question or an answer of the ledger is; ValueError for what 06-LEDGER refuses."""
    if depth_of(body) > DEPTH_MAX:
        raise ValueError("depth")
    said = msgpack.unpackb(body, raw=False, strict_map_key=False, ext_hook=no_extensions, timestamp=0)
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise ValueError("no map of words")
    if not isinstance(said.get("rows", []), list):
        raise ValueError("rows")
    return said


def depth_of(body):
    def deep(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max((deep(item) for item in inner), default=0)

    return deep(msgpack.unpackb(body, raw=True, strict_map_key=False, ext_hook=no_extensions, timestamp=0))


@pytest.mark.parametrize("vector", cases("ledger.json"))
def test_ledger(vector):
    body = bytes.fromhex(vector["body"])
    if "error" in vector:
        with pytest.raises(ValueError):
            ledger_map(body)
        return
    assert ledger_map(body) == with_bytes(vector["map"])
    written = ledger_map(bytes.fromhex(vector.get("written", vector["body"])))
    assert set(written) <= set(vector["map"])
