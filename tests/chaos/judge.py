"""What one request got: read from the bytes of its answer, with nothing taken on trust.

The mock ends every token with ~NUMBER.NONCE.SEQ.MICROSECONDS~ (docs/mock.md). An answer counts only when it is whole:
all tokens in order, of this request and of one upstream call, and the end that its form has. Pure; the bytes come
from client.py.
"""

import json
import re
from dataclasses import dataclass, field

TAG = re.compile(r"~([A-Za-z0-9_-]+)\.([0-9a-f]{16})\.([0-9]+)\.([0-9]+)~")

ANSWERED = "answered"
ERROR = "error"  # an error answer instead of any content
STREAM_ERROR = "stream_error"  # a stream that ended with an error event
UNANSWERED = "unanswered"  # nothing, half an answer, silence, or somebody else's


@dataclass
class Verdict:
    outcome: str
    why: str = ""
    status: int = 0
    tokens: int = 0
    twice: str = ""  # what was there twice, or is missing in the middle
    nonces: set = field(default_factory=set)


def token_faults(text, number):
    """(tokens, nonces, what is wrong with the request's number, what was repeated or left out)."""
    tags = TAG.findall(text)
    nonces = {nonce for _, nonce, _, _ in tags}
    strangers = sorted({other for other, _, _, _ in tags if other != number})
    foreign = f"tokens of request {strangers[0]}" if strangers else ""
    places = [int(place) for _, _, place, _ in tags]
    twice = ""
    if len(nonces) > 1:
        twice = f"tokens of {len(nonces)} upstream calls"
    elif places != list(range(len(places))):
        at = next(i for i, place in enumerate(places) if place != i)
        twice = f"token {places[at]} where {at} belongs"
    return len(tags), nonces, foreign, twice


def error_word(body):
    """The code of an error body of the gateway, or None when it is none."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error["type"]) if error["message"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def judge_plain(status, body, number, tokens):
    try:
        answer = json.loads(body)
        text = answer["choices"][0]["message"]["content"]
        finish = answer["choices"][0]["finish_reason"]
    except (ValueError, KeyError, TypeError, IndexError):
        return Verdict(UNANSWERED, f"status {status}, not a chat completion: {body[:120]!r}", status)
    count, nonces, foreign, twice = token_faults(text, number)
    verdict = Verdict(ANSWERED, "", status, count, twice, nonces)
    if foreign or count != tokens or finish != "stop":
        verdict.outcome = UNANSWERED
        verdict.why = foreign or f"{count} of {tokens} tokens, finish {finish}"
    return verdict


def stream_events(body):
    """Data of the whole events of a stream, and whether something follows the last whole one."""
    *blocks, rest = body.replace(b"\r\n", b"\n").split(b"\n\n")
    events = []
    for block in blocks:
        data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            events.append(b"\n".join(data))
    return events, rest.strip() != b""


def read_event(data, text):
    """Adds the content of one event to `text`. Returns (finish_reason or None, error code or None)."""
    event = json.loads(data)
    if event.get("error"):
        return None, error_word(data) or "unknown"
    finish = None
    for choice in event["choices"]:
        text.append(choice["delta"].get("content") or "")
        finish = choice.get("finish_reason") or finish
    return finish, None


def judge_stream(status, body, number, tokens, whole):
    events, has_rest = stream_events(body)
    text, finish, error, done, behind = [], None, None, False, False
    try:
        for data in events:
            behind = behind or done
            if data == b"[DONE]":
                done = True
                continue
            said, failed = read_event(data, text)
            finish = said or finish
            error = error or failed
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        return Verdict(UNANSWERED, f"an event that is none: {problem}", status)
    count, nonces, foreign, twice = token_faults("".join(text), number)
    verdict = Verdict(ANSWERED, "", status, count, twice, nonces)
    if foreign or behind or has_rest:
        verdict.outcome = UNANSWERED
        verdict.why = foreign or ("events behind [DONE]" if behind else "half an event at the end")
    elif error is not None:
        verdict.outcome = STREAM_ERROR
        verdict.why = error
    elif not (done and whole and finish == "stop" and count == tokens):
        verdict.outcome = UNANSWERED
        verdict.why = f"a stream that ended in silence after {count} of {tokens} tokens"
    return verdict


def judge(answer, number, tokens, stream):
    """`answer` as client.py has it: status (None: no head came), content_type, body, whole (its framing ended), why."""
    if answer.status is None:
        return Verdict(UNANSWERED, answer.why)
    if answer.status != 200:
        code = error_word(answer.body) if answer.whole else None
        if code is None:
            return Verdict(UNANSWERED, f"status {answer.status} without an error body: {answer.why}", answer.status)
        return Verdict(ERROR, f"{answer.status} {code}", answer.status)
    if stream and answer.content_type.startswith("text/event-stream"):
        verdict = judge_stream(answer.status, bytes(answer.body), number, tokens, answer.whole)
        if verdict.outcome == UNANSWERED and not answer.whole:
            verdict.why += f" ({answer.why})"
        return verdict
    if stream:
        return Verdict(UNANSWERED, f"a stream was asked for, {answer.content_type} came", answer.status)
    if not answer.whole:
        return Verdict(UNANSWERED, f"half an answer: {answer.why}", answer.status)
    return judge_plain(answer.status, bytes(answer.body), number, tokens)
