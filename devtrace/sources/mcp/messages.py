"""What one message of JSON-RPC says, read leniently: what is odd is told as it is, and nothing is refused.

The texts of arguments and results are slices of what passed, so that numbers, spaces and names that stand
twice are what they were. An id is compared with its type: 1, 1.0, "1" and true are four.

    read(piece)   [Message, ...]   several for a batch, one of kind "invalid" for what is no message

Lives here: `Message`, `read`. Not here: which answer belongs to which request (conversation.py), where one
message ends (lines.py, sse.py). Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from math import isfinite
from typing import Any, NamedTuple

from devtrace.sources.mcp.lines import Piece

REQUEST, NOTIFICATION, RESULT, ERROR, INVALID = "request", "notification", "result", "error", "invalid"
CALL = "tools/call"
NO_ID = "null"  # the id of an answer to something that was no request

_LONGEST_KEY = 100  # characters of an id that is kept as it is; a longer one is kept as its digest
_LONGEST_ID = 200  # characters of an id as it is shown
_MOST_IN_A_BATCH = 1_000
_MOST_DIGITS = 4_000  # of a whole number that Python reads as one

_blanks = re.compile(r"[ \t\r\n]*").match
_Span = tuple[int, int, Any]  # where a value stands, and the value
_NONE: _Span = (0, 0, None)


class Message(NamedTuple):
    """One message as it passed."""

    kind: str  # one of the five above
    text: str  # all of it; of one that is too long, its beginning
    size: int  # bytes that it really has
    id: str = ""  # to be compared; "": it has none
    shown_id: str = ""  # as JSON
    method: str = ""
    value: Any = None  # params, result or error; None where it was too long to be read
    detail: str = ""  # as JSON: the arguments of a call, the result, the data of an error
    is_cut: bool = False  # it was too long to be read as a whole
    is_torn: bool = False  # it is no message, and stood where bytes were lost

    @property
    def params(self) -> dict[str, Any]:
        """The object that it carries, or an empty one."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def meta(self) -> dict[str, Any]:
        """`_meta` of that."""
        found = self.params.get("_meta")
        return found if isinstance(found, dict) else {}


def read(piece: Piece) -> list[Message]:
    """The messages of a line, an event or a body. Never raises."""
    text = piece.data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    if piece.is_cut:
        return [_glimpse(text, piece)]
    try:
        return _read(text)
    except (ValueError, IndexError, RecursionError, MemoryError):
        return [Message(INVALID, text, piece.size, is_torn=piece.is_torn)]


def key_of(value: object, raw: str = "") -> str:
    """An id or a token, to be compared with its type; `raw`: how it stood there, where that says more."""
    if isinstance(value, str):
        key = f'"{value}'
    elif isinstance(value, bool) or value is None:
        key = json.dumps(value)
    elif isinstance(value, int):
        key = str(value)
    elif isinstance(value, float):
        key = f"f{value!r}" if isfinite(value) else f"f{raw or value!r}"
    else:
        key = f"j{raw or json.dumps(value, default=repr)}"
    return key if len(key) <= _LONGEST_KEY else digest(key)


def digest(text: str) -> str:
    """What stands for a text that is too long, or nobody's business."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


# --- whole messages -----------------------------------------------------------------------------------------


def _read(text: str) -> list[Message]:
    at = _skip(text, 0)
    if text[at] == "{":
        message, end = _message(text, at)
        found = [message]
    elif text[at] == "[":
        found, end = _batch(text, at)
    else:
        raise ValueError("neither an object nor an array")
    if _skip(text, end) != len(text):
        raise ValueError("something stands behind it")
    return found


def _batch(text: str, at: int) -> tuple[list[Message], int]:
    """The messages of an array. Nobody sends very many, and these are not looked at one by one."""
    found: list[Message] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        if len(found) == _MOST_IN_A_BATCH:
            return [*found, Message(INVALID, text[at:], _bytes(text[at:]), is_cut=True)], len(text)
        if text[at] == "{":
            message, end = _message(text, at)
        else:
            _, end = _decode(text, at)
            message = Message(INVALID, text[at:end], _bytes(text[at:end]))
        found.append(message)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != "]":
            raise ValueError("no array")
    if not found:
        raise ValueError("an empty batch is no message")
    return found, at + 1


def _message(text: str, at: int) -> tuple[Message, int]:
    found: dict[str, _Span] = {}
    end = _members(text, at, found)
    raw = text if (at, end) == (0, len(text)) else text[at:end]
    message = Message(INVALID, raw, _bytes(raw))
    if "id" in found:
        start, stop, value = found["id"]
        message = _with_id(message, text[start:stop], value)
    if isinstance(method := found.get("method", _NONE)[2], str):
        params = found.get("params", _NONE)
        detail = _member(text, params, "arguments") if method == CALL else ""
        kind = REQUEST if "id" in found else NOTIFICATION
        return message._replace(kind=kind, method=method, value=params[2], detail=detail), end
    if RESULT in found and "id" in found:
        start, stop, value = found[RESULT]
        return message._replace(kind=RESULT, value=value, detail=text[start:stop]), end
    if ERROR in found and ("id" in found or isinstance(found[ERROR][2], dict)):
        detail = _member(text, found[ERROR], "data")
        id = message.id or NO_ID  # some leave out what should be null
        return message._replace(kind=ERROR, id=id, value=found[ERROR][2], detail=detail), end
    return message, end


def _with_id(message: Message, raw: str, value: object) -> Message:
    shown = raw if len(raw) <= _LONGEST_ID else f'"[... an id of {len(raw):,} characters was not kept ...]"'
    return message._replace(id=key_of(value, raw), shown_id=shown)


def _member(text: str, span: _Span, name: str) -> str:
    """How a member of an object stands there; "" where it has none."""
    start, _, value = span
    if not isinstance(value, dict) or name not in value:
        return ""
    found: dict[str, _Span] = {}
    _members(text, start, found)
    first, last, _ = found[name]
    return text[first:last]


def _members(text: str, at: int, found: dict[str, _Span]) -> int:
    """Where the values of an object stand, and where it ends; of names that stand twice the last counts.

    A value that does not end is found with the end -1, before its error is raised.
    """
    at = _skip(text, at + 1)
    while text[at] != "}":
        if text[at] != '"':
            raise ValueError("no name")
        name, at = _decode(text, at)
        if text[at] != ":" and text[at := _skip(text, at)] != ":":
            raise ValueError("no colon")
        at = _skip(text, at + 1)
        found[name] = (at, -1, None)
        value, end = _decode(text, at)
        found[name] = (at, end, value)
        at = end if text[end] in ",}" else _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != "}":
            raise ValueError("no object")
    return at + 1


def _skip(text: str, at: int) -> int:
    """Over the blanks there."""
    return _blanks(text, at).end()  # type: ignore[union-attr]


def _whole(digits: str) -> int | float:
    """Python refuses to read a number of more than some thousand digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


_QUICK = json.JSONDecoder(strict=False).raw_decode
_PATIENT = json.JSONDecoder(strict=False, parse_int=_whole).raw_decode


def _decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _QUICK(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a number that is too long
        return _PATIENT(text, at)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


# --- what is too long to be read as a whole -----------------------------------------------------------------

# Members behind the long one, as the official library for TypeScript writes them: its `id` comes last.
_VERSION = r'"jsonrpc"\s*:\s*"[^"\\]*"'
_ID = r'"id"\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?[0-9][0-9.eE+-]{0,40}|true|false|null)'
_END = re.compile(rf"(?:{_VERSION}\s*,\s*)?{_ID}(?:\s*,\s*{_VERSION})?\s*\}}\s*\Z")


def _glimpse(text: str, piece: Piece) -> Message:
    """What its first and last bytes tell."""
    message = Message(INVALID, text, piece.size, is_cut=True, is_torn=piece.is_torn)
    found = _begun(text, _skip(text, 0))
    if "id" in found:
        start, stop, value = found["id"]
        message = _with_id(message, text[start:stop], value)
    elif last := _END.search(piece.tail.decode("utf-8", "surrogateescape")):
        message = _with_id(message, last[1], json.loads(last[1], strict=False))
    if isinstance(method := found.get("method", _NONE)[2], str):
        kind = REQUEST if message.id else NOTIFICATION
        params = _begun(text, found["params"][0]) if "params" in found else {}
        value = {name: value for name, (_, end, value) in params.items() if end >= 0}
        detail = text[params["arguments"][0] :] if method == CALL and "arguments" in params else ""
        return message._replace(kind=kind, method=method, value=value, detail=detail)
    for kind in (RESULT, ERROR):
        if kind in found and message.id:
            return message._replace(kind=kind, detail=text[found[kind][0] :])
    return message


def _begun(text: str, at: int) -> dict[str, _Span]:
    """The members of an object of which only the beginning is there."""
    found: dict[str, _Span] = {}
    if text[at : at + 1] == "{":
        with contextlib.suppress(ValueError, IndexError, RecursionError):
            _members(text, at, found)
    return found
