"""The values of a file's fields: `password: ...` of YAML, `"password": "..."` of JSON, `<password>` of XML.

A colon stands in prose, types and logs as well, so that the value must look like one too.

Lives here: finding the value of a field whose name is a secret's, and judging it. Not here: what makes a name
a secret's (names.py), assignments of a shell or a program (secrets.py). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

import re
from functools import lru_cache

from devtrace.policy.names import PROSE, compiled, is_metavariable, is_placeholder, looks_random
from devtrace.policy.words import LONGEST, closes_a_string, quoted_at

_LEAST = 3  # bytes
_LEAST_MIXED = 6  # bytes of a value without quotes
_LEAST_LISTED = 8  # bytes of one behind a comma
_LEAST_IN_CODE = 12  # bytes of one behind which a list goes on
_LONG_FOR_A_WORD = 20

_COLON = rb"(?:\\{1,3}[\"']|[\"'])?[ \t]*:(?![:=])[ \t]*"
# How text goes on between a quoted name and its quoted value, where neither `:` nor `=` follows the name.
QUOTED_NEXT = (
    rb"(?:\\{0,3}[\"'](?:\][ \t]*=(?![=~>])|[ \t]*,|[ \t]*=>)|[ \t]+=>)[ \t]*"
    rb"(?!\\{0,3}[\"']value\\{0,3}[\"'])(?=[bfru@]?\\{0,3}[\"'])"
)
NEXT_ITEM = rb"[ \t]*\r?\n[ \t+]*- (?=[^\s-])"
_BLOCK = rb"[|>][+-]?[0-9]?[+-]?[ \t]*(?:#[^\n]{0,256})?\r?\n([ \t+]{1,64})(?=\S)"
# Words with a number behind them, as things are called in a cluster.
_SLUG = rb"[a-z]+(?:[-_.](?:[a-z]+|v?[0-9]{1,4}))+"
_ONE_WORD = rb"[ \t]*:[ \t]+([A-Za-z]{1,19})(?=[\r\n,;) ]|\.\s|\Z)(?![ \t]*(?:\|[^\n]*)?=)"
_TYPED = rb"[ \t]*:[ \t]*&?[A-Za-z_'][\w.\[\]|<> ']{0,40}+=[ \t]*(?=[bfru]{0,2}[\"'])"
# What is no value, seen at once: the end of a line, a variable, a name in angle brackets, a YAML tag.
_NOTHING = (
    rb"[\r\n]|[\"']?(?:\$\{\{[^{}\n]*\}\}|\{\{[^{}\n]*\}\}|\$\{[A-Za-z_][\w.]*(?::\?[^{}\n]*)?\}"
    rb"|\$[A-Za-z_]\w*|<[^<>\n]{0,64}>)(?=[\"'\s,;)\]}\\]|\Z)|[|>!&*{(\[]"
)
_ELEMENT = rb">([^<>\n]{1,4096})</"
_PLIST = rb"</key>\s{0,64}<string>([^<>\n]{1,4096})</string>"
_VALUE_BELOW = rb"[\"']?[ \t]*,?[ \t]*\r?\n?[ \t+-]*[\"']?value[\"']?[ \t]*[:=][ \t]*"
_DEFAULT_BELOW = rb"\"[ \t]*\{[^{}]{0,512}?\bdefault[ \t]*=[ \t]*(?=\")"
_IS_NAME = rb"(?i:\b(?:name|key))[\"']?[ \t]*[:=][ \t]*[\"']?\Z"
_WORD = rb"[^\s\"'`<>(){}\[\],;|]+(?:,[^\s\"'`<>(){}\[\],;|]+)*"
_LINE = rb"(?:[ \t+>*#-]|[0-9]{1,6}[:\t-])*+[\"']?[\w.:/-]*+[ \t]*+"
_PASSWORDS = rb"passw|passphrase|passcode|_pass\b|_pwd|_pw\b|kennwort|credential"
_NAMES_ONE = rb"(?i:passw|pass\b|token|secret|credential|key\b)"
_CODE = rb"&?[A-Za-z_$][\w$]*(?:(?:\.|->|::|\?\.)[A-Za-z_$][\w$]*)*(?:\[.*)?[!?]?"
_CLASS = rb"Str|Text|Secret|Pass|Token|Type|Field|Value|Key|Bytes|Any|Opt|Hash|Config|Input|Schema|Model"
_REFERENCE = rb"(?i:#[0-9a-f]{3,8}\Z|arn:|ssm:|aws-?sm:|gcp-?sm:|vault:|op://|file:|env:|secret://|projects/|/|\./|~/|\.\./|[!&*|>])"
# What a field of that name says that holds none: a type, a state.
_TYPES = frozenset(
    b"str string bytes int integer bool boolean float double number object any unknown never void char"
    b" text uuid varchar literal final optional required incorrect invalid missing expired wrong empty"
    b" valid unset changed updated hidden masked redacted rejected accepted ok failed denied mandatory"
    b" deprecated sensitive write-only password passwd self this new old ask prompt inherit omitted"
    b" absent present include omit same-origin env file secret plain plaintext hashed encrypted".split()
)


def field_value(text: bytes, name: int, end: int) -> tuple[int, int] | None:
    """Where the secret stands that the field named at `name:end` holds; None when there is none."""
    after = text[end : end + 1]
    if after in (b">", b"<"):
        return _in_element(text, name, end)
    if after != b":":
        if after != b"\n" and (quoted := compiled(QUOTED_NEXT).match(text, end)):
            return _behind_a_quote(text, name, end, quoted)
        if item := compiled(rb"[\"']?" + NEXT_ITEM).match(text, end):
            return _in_the_next_item(text, name, end, item.end())
    word = compiled(_ONE_WORD).match(text, end)
    if word is not None and not (_is_a_password(text[name:end]) and _is_weak(word[1])):
        return None
    if typed := compiled(_TYPED).match(text, end):
        return _judged(text, typed.end(), text[name:end], is_a_line=False)
    if colon := compiled(_COLON).match(text, end):
        return _behind_a_colon(text, name, end, colon.end())
    return _below(text, name, end) if after in (b'"', b"'", b"\n", b"\r", b",") else None


def _behind_a_colon(text: bytes, name: int, end: int, at: int) -> tuple[int, int] | None:
    """`password: ...`, in the same line, in a block below or as a string in the next line."""
    if text[name - 1 : name] == b"/" or text[at - 1 : at + 2] == b"://":
        return None  # a user's name, or a scheme
    if compiled(_NOTHING).match(text, at):
        if block := compiled(_BLOCK).match(text, at):
            return _in_a_block(text, name, end, block)
        if text[end : end + 1] == b'"' and (below := compiled(rb"\r?\n[ \t]*(?=\")").match(text, at)):
            return _judged(text, below.end(), text[name:end], is_a_line=False)
        return None
    line = text.rfind(b"\n", max(0, name - LONGEST), name) + 1
    is_a_line = text[at - 1] in b" \t" and compiled(_LINE).fullmatch(text, line, name) is not None
    return _judged(text, at, text[name:end], is_a_line=is_a_line)


def _behind_a_quote(text: bytes, name: int, end: int, sign: re.Match[bytes]) -> tuple[int, int] | None:
    """`config['PASSWORD'] = '...'`, `'password' => '...'`, `put("password", "...")`."""
    is_listed = sign[0].lstrip(b"\\\"' \t").startswith(b",")
    span = _judged(text, sign.end(), text[name:end], is_a_line=False)
    if span is None or is_a_names_name(text[slice(*span)], text[name:end]):
        return None
    value = text[slice(*span)]
    if is_listed and (
        not looks_random(value, _LEAST_LISTED) or b" " in value or compiled(_SLUG).fullmatch(value)
    ):
        return None
    return span


def _in_the_next_item(text: bytes, name: int, end: int, at: int) -> tuple[int, int] | None:
    """`- --password` and `- value` in the next line, arguments as a list of YAML."""
    before = text[max(0, name - 4) : name].rstrip(b"\"'")
    if text[name : name + 2] != b"--" or not before.endswith(b"- "):
        return None
    if compiled(_NOTHING).match(text, at) or text[at : at + 1] == b"-":
        return None
    return _judged(text, at, text[name:end], is_a_line=True)


def _in_a_block(text: bytes, name: int, end: int, block: re.Match[bytes]) -> tuple[int, int] | None:
    """`password: |` and the value in the lines below, as far as they are indented like the first."""
    line = text.rfind(b"\n", max(0, name - LONGEST), name) + 1
    key = compiled(rb"[ \t+]*(?:- )?[\"']?[\w.-]*").match(text, line, name)
    if (
        key is None
        or key.end() != name
        or len(block[1]) <= len(text[line:name]) - len(text[line:name].lstrip())
    ):
        return None
    span = _judged(text, block.end(), text[name:end], is_a_line=True)
    if span is None:
        return None
    more = compiled(rb"(?:\r?\n" + re.escape(block[1]) + rb"[^\s:]{1,256}(?=[ \t\r]*(?:\n|\Z))){0,64}+")
    rest = more.match(text, span[1])
    return span[0], rest.end() if rest else span[1]


def is_a_names_name(value: bytes, name: bytes) -> bool:
    """Whether a string is the name under which a secret is kept: `TOKEN_KEY = 'auth_token'`."""
    return (
        not _is_a_password(name)
        and compiled(_NAMES_ONE).search(value) is not None
        and compiled(rb"[A-Za-z]+(?:[-_.:/][A-Za-z]+)+").fullmatch(value) is not None
    )


def _in_element(text: bytes, name: int, end: int) -> tuple[int, int] | None:
    """`<password>...</password>`, `<key>password</key><string>...</string>`."""
    before = text[name - 1 : name] if name else b""
    pattern = _ELEMENT if text[end : end + 1] == b">" and before in (b"<", b":") else _PLIST
    value = compiled(pattern).match(text, end)
    if value is None or not _is_value(value[1], text[name:end], is_quoted=True):
        return None
    return value.span(1)


def _below(text: bytes, name: int, end: int) -> tuple[int, int] | None:
    """`- name: PASSWORD` and `value: ...` in the next line; `variable "password" { default = "..." }`."""
    if compiled(_IS_NAME).search(text[max(0, name - 32) : name]):
        value = compiled(_VALUE_BELOW).match(text, end)
    elif text[max(0, name - 10) : name] == b'variable "':
        value = compiled(_DEFAULT_BELOW).match(text, end)
    else:
        return None
    return _judged(text, value.end(), text[name:end], is_a_line=True) if value else None


def _judged(text: bytes, at: int, name: bytes, *, is_a_line: bool) -> tuple[int, int] | None:
    """Where the value at `at` stands, if it is one."""
    opening = compiled(rb"[bfru]{0,2}(?=[\"'])|(\\{1,3}[\"'])").match(text, at)
    if closes_a_string(text, at):
        return None
    if opening is not None:
        if opening[1]:
            last = text.find(opening[1], opening.end(), opening.end() + LONGEST)
            span = (opening.end(), last)
        else:
            whole = quoted_at(text, opening.end(), min(len(text), at + LONGEST))
            span = whole[:2] if whole else (at, at)
        return span if _is_value(text[slice(*span)], name, is_quoted=True) else None
    word = compiled(_WORD).match(text, at, at + LONGEST)
    if word is None:
        return None
    first, last = word.span()
    last -= len(word[0]) - len(word[0].rstrip(b".,:"))
    ends = compiled(rb"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z|\\n)|[\"']|[&|]").match(text, last) is not None
    ends = ends or (is_a_line and text[last : last + 1] == b"}")
    if text[word.end() : word.end() + 1] in (b"(", b"[", b"{", b"<"):
        return None
    if not _is_value(text[first:last], name, is_quoted=False, is_a_line=is_a_line and ends, goes_on=not ends):
        return None
    return first, last


def _is_value(
    value: bytes, name: bytes, *, is_quoted: bool, is_a_line: bool = False, goes_on: bool = False
) -> bool:
    """Whether a field of that name holds a secret in this value, and no type, label or reference."""
    if len(value) < _LEAST or is_placeholder(value, is_expanded=not is_quoted) or is_metavariable(value):
        return False
    lower = value.lower()
    if compiled(_REFERENCE).match(value) or (len(value) >= _LEAST and name.lower().endswith(lower)):
        return False
    if is_placeholder(value) or b"://" in value[:16]:
        return False
    is_a_password = _is_a_password(name)
    if is_quoted:
        return _is_quoted_value(value, is_a_password)
    if is_a_line and is_a_password and compiled(rb"[0-9]").search(value) and len(value) >= _LEAST_MIXED:
        if compiled(rb"[0-9.:,]+(?:[smhd]|ms)?").fullmatch(value) is None:
            return True
        return value.isdigit() and name.lower().endswith((b"password", b"passwd", b"passphrase", b"pwd"))
    if goes_on and (len(value) < _LEAST_IN_CODE or len(compiled(rb"[0-9]").findall(value)) < 2):
        return False
    if (
        compiled(_CODE).fullmatch(value)
        and len(value) < _LONG_FOR_A_WORD
        and compiled(rb"[.>:?\[]").search(value)
    ):
        return False
    if not is_a_password and compiled(_SLUG).fullmatch(value):
        return False
    if looks_random(value, _LEAST_MIXED):
        return True
    if value.isalpha() and value.islower() and len(value) >= _LONG_FOR_A_WORD:
        return True
    return is_a_line and is_a_password and _is_weak(value)


@lru_cache(maxsize=256)
def _is_a_password(name: bytes) -> bool:
    """Whether people choose what a field of that name holds: it may be a plain word."""
    return compiled(_PASSWORDS, re.IGNORECASE).search(name) is not None


def _is_quoted_value(value: bytes, is_a_password: bool) -> bool:
    if b" " in value:
        words = value.split()
        return is_a_password and not (
            value[:1].isupper()
            or value[-1:] in b".:?!*"
            or PROSE.intersection(word.lower() for word in words)
        )
    if value.lower() in _TYPES:
        return False
    if is_a_password:
        return not (
            compiled(_NAMES_ONE).search(value)
            and compiled(rb"[A-Za-z]+(?:[-_.:/][A-Za-z]+)+").fullmatch(value)
        )
    return (
        looks_random(value, _LEAST_MIXED)
        or (
            compiled(rb"[A-Za-z]+(?:[-_./:][A-Za-z]*)*").fullmatch(value) is None
            and compiled(rb"[A-Za-z]").search(value) is not None
        )
        or (value.isalpha() and len(value) >= _LONG_FOR_A_WORD and (value.islower() or value.isupper()))
    )


def _is_weak(value: bytes) -> bool:
    """Whether a word could be somebody's password: no type, no class, no name of a variable."""
    if value.lower() in _TYPES or value.lower() in PROSE or compiled(rb"[0-9.,]+").fullmatch(value):
        return False
    if compiled(rb"[A-Za-z]+(?:[_.][A-Za-z]+)+").fullmatch(value):
        return False
    if value[:1].isupper() and compiled(_CLASS).search(value):
        return False
    return not (b"-" in value and compiled(_NAMES_ONE).search(value))
