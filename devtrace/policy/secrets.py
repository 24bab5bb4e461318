"""The rules that find secrets by their shape: private keys, passwords in URLs, secret-named variables.

Each rule is a step of the chain: a function from a text to the spans it would hide. It looks for its keyword
before it compiles or runs anything, and then only near that keyword.

Lives here: the rules. Not here: what makes a name a secret's (names.py), secrets known by their value
(known.py), what replaces a secret (chain.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator

from devtrace.policy import commands, places
from devtrace.policy.chain import CUT_END, CUT_START, Span
from devtrace.policy.fields import NEXT_ITEM, QUOTED_NEXT, field_value, is_a_names_name
from devtrace.policy.names import PROSE, compiled, is_a_secrets, is_placeholder, looks_random
from devtrace.policy.tokens import tokens
from devtrace.policy.words import LONGEST, plain_words, value_at

_LONGEST_KEY = 65_536
_FAR_ABOVE = 1024  # bytes above a line in which its section's heading may stand
_LEAST_TOKEN = 20  # bytes of a user's name in a URL that is none
_LEAST_QUOTED = 8  # bytes of one that stands in quotes behind ` = ` in the middle of a line
_LEAST_ASSIGNED = 3  # bytes; less is no secret, but accesskey="n" of HTML, or a counter
_LONG = 256  # bytes of a value that is no expression any more
_FAR = 128  # bytes that a name may go back from the word that makes it a secret's
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_DASH, _EQUALS = ord("-"), ord("=")
_ASSIGNS = b" \t:=+?"
# Where to look closer; names.py decides.
_ROOT = rb"token|secret|passw|passphrase|credential|pgpass|sshpass|_pass|_pw|key|_pat"
# How text goes on behind a name to which something is given; what a program computes is left out at once.
_GIVEN = (
    rb"(?=[ \t\r\n+:?=\\\"'<>,])"  # most fail at once
    rb"(?=[ \t]*[+:?]?=(?![=~>])(?![ \t]*[a-z_][a-z0-9_.]*\()"
    rb"|(?:\\{1,3}[\"']|[\"'])?[ \t]*:(?![:=])(?![ \t]*[a-z_.]+[(,;)}\]])"
    rb"|[ \t](?![-= \t\r\n{})|,#<>&;]|(?:"
    + b"|".join(sorted(PROSE))
    + rb")[\s.,])|>[^<>\n]|</key>|[\"'][ \t]*\{"
    rb"|(?![:=])(?:[\"']?[ \t]*,?[ \t]*\r?\n?[ \t+-]*[\"']?value"
    rb"|" + QUOTED_NEXT + rb"|[\"']?" + NEXT_ITEM + rb"))"
)
_NAME = rb"(?:" + _ROOT + rb")[a-z0-9_.-]{0,128}+(?![a-z0-9_.-])" + _GIVEN
_USERINFO = rb"(?:[a-z+.-]{0,16}:)?/{0,2}([^\s/@'\"<>]{1,256})@(?=[A-Za-z0-9\[])"
_FRAGMENT = rb"[A-Za-z0-9_+=.~%@#$^&*!?-]{8,256}(?![^\s\"'&;,)\]}])"

_LABEL = rb"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_BEGIN = rb"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"
_END = rb"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
# What may stand around a line of a key: a diff's sign, a quotation, numbering, quotes of a string literal.
_AROUND = rb"[ \t>+|#*\"'-]{0,16}(?:[0-9]{1,6}[:\t -][ \t]*)?"
_LINE_END = rb"(?:\\n)?[\"',;+ \t\\]{0,8}\r?"
_KEY_LINE = _AROUND + rb"[A-Za-z0-9+/]{40,}={0,2}" + _LINE_END
_KEY_REST = _AROUND + rb"=?[A-Za-z0-9+/]{1,128}={0,2}" + _LINE_END
_KEY_HEADER = _AROUND + rb"(?:[A-Za-z][A-Za-z0-9-]{2,24}: [^\n]{1,128})?\r?"
_KEY_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\"
_KEY_TEXT = rb"(?:\\r|\\n|[A-Za-z0-9+/=])*"
# A pattern of sed or grep; a string of Python that is made of others.
_COMPUTED = (
    rb"(?:\.[*+]|\[\^|\\[SwWd]|\(\.|\(\?)"
    rb"|[rR]?[fF][\"'](?=[^\"']*\{)(?:[^0-9{}\"']|\{[^{}]*\})*+(?:[\"']|\Z)"
)
# What follows an option in a sentence about it, beside names.PROSE.
_ABOUT_OPTIONS = frozenset(
    b"via through using because since without over before after which does needs requires specified given"
    b" provided set but so then than".split()
)
_PUBLIC_TOKEN = b"publickeytoken"  # of a .NET assembly

ENCODED_BEGIN = b"LS0tLS1CRUdJTi"  # `-----BEGIN` in base64
# In one line, or in lines of 64 or 76 columns.
_ENCODED = (
    rb"(?:[A-Za-z0-9+/]{77,}+={0,2}|[A-Za-z0-9+/]{56,76}+"
    rb"(?:(?:\\r)?(?:\\n|\r?\n)[ \t>+|]{0,32}+[A-Za-z0-9+/]{56,76}(?![A-Za-z0-9+/]))*+"
    rb"(?:={1,2}|(?:\\r)?(?:\\n|\r?\n)[ \t>+|]{0,32}+[A-Za-z0-9+/]{1,76}={0,2}"
    rb"(?=[ \t\r\\\"']*(?:[n\n\"']|\Z)))?)"
)

_NO_WORD = rb"[.\[>]"
_CODE = rb"[A-Za-z_][A-Za-z_]*(?:\.[A-Za-z_]+|\[[^\[\]]{1,64}\]?|->[A-Za-z_]+)+[,:]?"


def private_keys(text: bytes, _: int) -> Iterator[Span]:
    """PEM, OpenSSH and PGP private keys (RFC 7468, section 10; RFC 9580, section 6.2), whole or in part."""
    if b"PRIVATE KEY" in text:
        yield from _keys(text)
    if ENCODED_BEGIN in text:
        yield from _encoded_keys(text)


def _encoded_keys(text: bytes) -> Iterator[Span]:
    """The same once more in base64, as `kubectl get secret -o yaml` prints them."""
    until = 0
    at = text.find(ENCODED_BEGIN)
    while at >= 0:
        if at >= until and _is_a_label(text[at : at + 80]):
            key = compiled(_ENCODED).match(text, at, at + _LONGEST_KEY)
            if key is not None:
                until = at + _encoded_size(key[0])
                yield at, until, "private-key", None
        at = text.find(ENCODED_BEGIN, at + 1)


def _encoded_size(key: bytes) -> int:
    """How much of it is the key: a word in the line below an END looks like a last line."""
    lines = key.rpartition(b"\n")[0]
    try:
        is_whole = binascii.a2b_base64(lines).rstrip().endswith(b"KEY-----")
    except binascii.Error:
        return len(key)
    return len(lines.rstrip()) if is_whole else len(key)


def _is_a_label(encoded: bytes) -> bool:
    """Whether `-----BEGIN ... PRIVATE KEY` stands there in base64."""
    digits = compiled(rb"[A-Za-z0-9+/]*").match(encoded)
    whole = len(digits[0]) // 4 * 4 if digits else 0
    return compiled(_BEGIN).match(binascii.a2b_base64(encoded[:whole])) is not None


def _keys(text: bytes) -> Iterator[Span]:
    until = 0
    at = text.find(b"PRIVATE KEY")
    while at >= 0:
        label = next((label for label in _labels(text, at) if label.start() <= at < label.end()), None)
        if label is not None and at >= until:
            if label[1] == b"BEGIN":
                start, until = label.start(), _key_end(text, label.end())
                is_key = until > label.end()
            else:
                start, until = _key_start(text, label.start()), label.end()
                is_key = start < label.start()
            if is_key:
                yield start, until, "private-key", None
        at = text.find(b"PRIVATE KEY", at + 1)


def url_passwords(text: bytes, edges: int) -> Iterable[Span]:
    """The password of `scheme://user:password@host` (RFC 3986, section 3.2.1), or a token as the user."""
    return _passwords(text, edges) if b"@" in text or edges else ()


def _passwords(text: bytes, edges: int) -> Iterator[Span]:
    for separator in (b"://", b":\\/\\/"):
        at = text.find(separator)
        while at >= 0:
            start = at + len(separator)
            yield from _in_authority(text, start, edges)
            at = text.find(separator, start)
    if edges & CUT_START and (match := compiled(_USERINFO).match(text)):
        yield *match.span(1), "url-password", None


def secret_assignments(text: bytes, edges: int) -> Iterator[Span]:
    """`NAME=value`, `--name=value`, `--name value`, `set -x NAME value`, where the name is a secret's."""
    lower = text.lower()
    until = 0
    for hit in compiled(_NAME).finditer(lower):
        end = hit.end()
        if hit.start() < until:
            continue
        name = _name_start(text, hit.start())
        if (
            text[name] != _DASH
            and text[end] in b" \t"
            and text[end + 1 : end + 2] not in _ASSIGNS
            and not _is_set(text, name)
        ):
            continue
        if is_a_secrets(lower[name:end]) and lower[name:end] != _PUBLIC_TOKEN:
            until = _refused_until(text, end) if text[end] == _EQUALS else 0
            for span in _assigned(text, name, end):
                until = span[1]  # what stands inside is hidden already
                yield span
    if edges & CUT_START:
        fragment = compiled(_FRAGMENT).match(text)
        if fragment and looks_random(fragment[0], 8) and not is_placeholder(fragment[0]):
            yield 0, fragment.end(), "cut-value", None


def by_words(text: bytes, edges: int) -> Iterator[Span]:
    """What a word of the text tells of: credentials by their prefix, passwords in commands and headers."""
    words = plain_words(text)
    yield from tokens(text, edges, words)
    yield from by_place(text, edges, words)


def by_place(text: bytes, _: int, words: set[bytes] | None = None) -> Iterator[Span]:
    """Passwords in commands, headers and files; `words`: all that stand in the text, if somebody has them."""
    words = plain_words(text) if words is None else words
    if not words.isdisjoint(commands.names()):
        yield from commands.command_secrets(text, words)
    if told := words & places.words():
        yield from places.placed_secrets(text, told)
    yield from places.signed_secrets(text, words)


# A credential of a known form goes by that form's name, whatever stands beside it: `tokens` comes first.
RULES: tuple[Callable[[bytes, int], Iterable[Span]], ...] = (
    by_words,
    private_keys,
    url_passwords,
    secret_assignments,
)
BUT_TOKENS = (by_place, *RULES[1:])

RULE_IDS = frozenset(("private-key", "url-password", "secret-variable", "cut-value"))
# What these find is told by what stands beside it, and known from then on. The others' finds tell themselves.
TEACHERS = (
    frozenset(("url-password", "secret-variable")) | commands.RULE_IDS | places.RULE_IDS - {"password-hash"}
)


def _labels(text: bytes, at: int) -> Iterator[re.Match[bytes]]:
    return compiled(_LABEL).finditer(text, max(0, at - 64), at + 32)


def _key_end(text: bytes, at: int) -> int:
    """Where the key ends whose BEGIN line ends at `at`; `at` itself when no key follows."""
    after = compiled(_BEGIN).search(text, at, at + _LONGEST_KEY)
    limit = after.start() if after else at + _LONGEST_KEY
    end = compiled(_END).search(text, at, limit)
    if end is not None and compiled(rb"[A-Za-z0-9+/=]{16}").search(text, at, end.start()):
        return end.end()
    inline = compiled(_KEY_TEXT).match(text, at)
    last = inline.end() if inline and inline.end() - at >= 16 else at
    line = text.find(b"\n", last) + 1
    is_long = False
    while 0 < line < len(text) and line - at < _LONGEST_KEY:
        stop = text.find(b"\n", line)
        stop = len(text) if stop < 0 else stop
        if compiled(_KEY_LINE).fullmatch(text, line, stop):
            last, is_long = stop, True
        elif (is_long or stop == len(text)) and compiled(_KEY_REST).fullmatch(text, line, stop):
            return stop
        elif is_long or not compiled(_KEY_HEADER).fullmatch(text, line, stop):
            break
        line = stop + 1
    return last


def _key_start(text: bytes, at: int) -> int:
    """Where the lines of a key begin that stand above the END line at `at`; `at` when there are none."""
    start = stop = text.rfind(b"\n", 0, at) + 1
    inline = text[max(start, at - LONGEST) : at]
    bare = inline.rstrip(_KEY_BYTES)
    if len(inline) - len(bare) >= 16:
        return at - (len(inline) - len(bare))
    first = True
    while stop > 0:
        line = text.rfind(b"\n", 0, stop - 1) + 1
        is_line = compiled(_KEY_LINE).fullmatch(text, line, stop - 1)
        is_rest = (first or line == 0) and compiled(_KEY_REST).fullmatch(text, line, stop - 1)
        if not is_line and not is_rest:
            break
        first = first and text[line : line + 1] == b"="  # the checksum of OpenPGP stands on a line of its own
        start = stop = line
    return start if start < text.rfind(b"\n", 0, at) + 1 else at


def _in_authority(text: bytes, start: int, edges: int) -> Iterator[Span]:
    authority = compiled(rb"[^\s/?#\"'<>\\]{0,2048}").match(text, start)
    if authority is None:
        return
    end = authority.end()
    at = text.rfind(b"@", start, end)
    colon = text.find(b":", _behind_a_marker(text, start, end), end)
    if at < 0 and 0 <= colon < end - 1 and text[start : start + 1] != b"[":
        at = _unescaped_slash(text, colon + 1, end)
        if at < 0 and edges & CUT_END and end == len(text) and not text[colon + 1 : end].isdigit():
            at = end
    if at < 0:
        return
    user_end = colon if 0 <= colon < at else at
    if user_end < at - 1 and not is_placeholder(text[user_end + 1 : at]):
        yield user_end + 1, at, "url-password", None
    user = text[start:user_end]
    if looks_random(user, _LEAST_TOKEN) and not is_placeholder(user):
        yield start, user_end, "url-password", None


def _behind_a_marker(text: bytes, start: int, end: int) -> int:
    """Behind the marker of ours that stands there: it holds colons of its own."""
    if text[start : start + 1] != b"[":
        return start
    marker = compiled(rb"\[redacted:[a-z0-9:-]+\]").match(text, start, end)
    return marker.end() if marker else start


def _unescaped_slash(text: bytes, start: int, end: int) -> int:
    """The `@` after a password in which a `/`, `?` or `#` was not percent-encoded; -1 when it is a port."""
    if text[start:end].isdigit():
        return -1
    match = compiled(rb"[^\s\"'<>@]{1,256}@(?=[A-Za-z0-9\[][A-Za-z0-9.-]*[.:\]/])").match(text, start)
    return -1 if match is None or b"://" in match[0] else match.end() - 1


def _name_start(text: bytes, at: int) -> int:
    before = text[max(0, at - _FAR) : at]
    return at - len(before) + len(before.rstrip(_NAME_BYTES))


def _assigned(text: bytes, name: int, end: int) -> Iterator[Span]:
    """The value that is given to the name at `name:end`, if any."""
    if text[end : end + 1] in (b" ", b"\t") and text[end + 1 : end + 2] not in _ASSIGNS:
        if not _is_option(text, name):
            return
        folded = compiled(rb"[ \t]+\\\r?\n[ \t]*(?!-)").match(text, end)
        at, after = folded.end() if folded else end + 1, "blanks"
    elif equals := compiled(rb"[ \t]*[+:?]?=(?![=~>])[ \t]*").match(text, end):
        at, after = equals.end(), "a name"
        if equals[0][:1] in b" \t" or equals[0][-1:] in b" \t":
            after = "a line's beginning" if _begins_line(text, name) else "anything"
    else:
        if field := field_value(text, name, end):
            yield *field, "secret-variable", None
        return
    value = value_at(text, at, _quote_before(text, name))
    if value is None:
        return
    first, last, is_expanded, is_quoted = value
    secret = text[first:last]
    if len(secret) < _LEAST_ASSIGNED or is_placeholder(secret, is_expanded=is_expanded):
        return
    if (len(secret) < _LONG and compiled(_COMPUTED).match(secret)) or (
        is_quoted and is_a_names_name(secret, text[name:end])
    ):
        return
    if after == "blanks" and secret.lower().rstrip(b".,:") in _ABOUT_OPTIONS:
        return
    if after == "anything" and not (is_quoted and looks_random(secret, _LEAST_QUOTED)):
        return
    if (
        is_quoted
        or not _is_code(text, secret, last, text[name:end], after=after)
        or (after == "a line's beginning" and _is_in_a_section(text, name, last))
    ):
        yield first, last, "secret-variable", None


def _refused_until(text: bytes, end: int) -> int:
    """Where a long unquoted value ends: what is no value is not looked at again for each name inside."""
    value = compiled(rb"=[^\s\"'`;&|]{256,4096}+").match(text, end)
    return value.end() if value else 0


def _is_set(text: bytes, name: int) -> bool:
    """Whether a word before the name may set it: `set -x NAME value`, `ENV NAME value`."""
    return (
        text[name - 1 : name] in (b" ", b"\t")
        and compiled(rb"set|ENV").search(text, max(0, name - 64), name) is not None
    )


def _is_option(text: bytes, name: int) -> bool:
    """Whether a value may follow the name after blanks: `--token x`, `-token x`, `set -x TOKEN x`."""
    before = text[max(0, name - 64) : name]
    if text[name : name + 1] == b"-":
        return not before or before[-1:] in b" \t\n'\"(=;|&"
    return (
        compiled(rb"(?:^|[\s;&|(])(?:set(?:[ \t]+-[A-Za-z-]+)+|setenv|ENV)[ \t]+\Z").search(before)
        is not None
    )


def _begins_line(text: bytes, name: int) -> bool:
    """`name = value` with blanks is an assignment only at the beginning of a line, as in an .ini file."""
    line = text.rfind(b"\n", 0, name) + 1
    return (
        compiled(rb"[ \t+>-]*(?:(?:export|set|const|let|var|local|static|final)[ \t]+)?").fullmatch(
            text, line, name
        )
        is not None
    )


def _is_in_a_section(text: bytes, name: int, last: int) -> bool:
    """Whether the line belongs to a section of an .ini file, where even a plain word is a value."""
    if compiled(rb"[ \t\r]*(?:\n|\Z)").match(text, last) is None:
        return False
    start = text.rfind(b"\n", max(0, name - _FAR_ABOVE), name) + 1
    heading = max(text.rfind(b"\n[", max(0, name - _FAR_ABOVE), name) + 1, 0)
    section = rb"\[[\w.: -]{1,64}\]\r?\n(?:[\w.-]{1,64}[ \t]*=[^\n]*\n|[ \t\r]*\n|[#;][^\n]*\n){0,32}"
    return (
        text[heading : heading + 1] == b"[" and compiled(section).fullmatch(text, heading, start) is not None
    )


def _quote_before(text: bytes, name: int) -> bytes:
    """The quote in which the whole assignment stands, as in `-e 'TOKEN=two words'`."""
    quote = text[name - 1 : name] if name else b""
    return quote if quote in (b"'", b'"') else b""


def _is_code(text: bytes, value: bytes, end: int, name: bytes, *, after: str) -> bool:
    """Whether an unquoted value is an expression of a program, a word of prose or a placeholder's name."""
    follows = text[end : end + 1]
    bare = value.rstrip(b",:.")
    if (
        follows == b"("
        or text[end : end + 2] == b"$("
        or value == b"$"
        or (bare.isdigit() and len(bare) <= 3)
    ):
        return True
    if len(bare) >= 3 and name.lower().endswith(bare.lower()):
        return True
    if compiled(_NO_WORD).search(value) and compiled(_CODE).fullmatch(value) and not bare.startswith(b"eyJ"):
        return True
    if compiled(rb"[A-Za-z_]+").fullmatch(bare) is None:
        return False
    if after == "blanks":
        return bare.lower() in PROSE or bare.isupper()
    return after == "a line's beginning" or (name.islower() and (value != bare or follows in (b")", b",")))
