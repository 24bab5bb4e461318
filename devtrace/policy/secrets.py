"""The rules that find secrets by their shape: private keys, passwords in URLs, secret-named variables.

Each rule is a step of the chain: a function from a text to the spans it would hide. It looks for its keyword
before it compiles or runs anything, and then only near that keyword.

Lives here: the rules. Not here: what makes a name a secret's (names.py), secrets known by their value
(known.py), what replaces a secret (chain.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from devtrace.policy.chain import CUT_END, CUT_START, Span
from devtrace.policy.names import compiled, is_a_secrets, is_placeholder, looks_random

_LONGEST = 4096  # bytes of one value
_LONGEST_KEY = 65_536
_LEAST_TOKEN = 20  # bytes of a user's name in a URL that is none
_LEAST_ASSIGNED = 3  # bytes; less is no secret, but accesskey="n" of HTML, or a counter
_FAR = 128  # bytes that a name may go back from the word that makes it a secret's
_NAME_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_GOES_ON = b"=:+? \t"  # what may stand between a name and its value: without it, nothing is assigned
# Where to look closer; names.py decides.
_ROOT = rb"token|secret|passw|passphrase|credential|pgpass|sshpass|_pass|_pw|key|_pat"
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

_WORD_END = b" \t\r\n;&|<>()`"
_AFTER_QUOTE = b" \t\r\n;&|<>(),]}`"
_CODE = rb"[A-Za-z_][A-Za-z_]*(?:\.[A-Za-z_]+|\[[^\[\]]{1,64}\]?|->[A-Za-z_]+)+[,:]?"
_PROSE = frozenset(
    b"to is are was the a an for and or in with from if of on that this option flag options flags can will"
    b" must should may has have value values argument instead name string text path file when"
    b" as by at it not you your".split()
)


def private_keys(text: bytes, _: int) -> Iterable[Span]:
    """PEM, OpenSSH and PGP private keys (RFC 7468, section 10; RFC 9580, section 6.2), whole or in part."""
    return _keys(text) if b"PRIVATE KEY" in text else ()


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
    for hit in compiled(_ROOT).finditer(lower):
        if hit.start() < until:
            continue
        until = end = _name_end(text, hit.end())
        if end == len(text) or text[end] not in _GOES_ON:
            continue
        name = _name_start(text, hit.start())
        if is_a_secrets(lower[name:end]):
            for span in _assigned(text, name, end):
                until = span[1]  # what stands inside is hidden already
                yield span
    if edges & CUT_START:
        fragment = compiled(_FRAGMENT).match(text)
        if fragment and looks_random(fragment[0], 8) and not is_placeholder(fragment[0]):
            yield 0, fragment.end(), "cut-value", None


RULES: tuple[Callable[[bytes, int], Iterable[Span]], ...] = (private_keys, url_passwords, secret_assignments)


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
    inline = text[max(start, at - _LONGEST) : at]
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
    colon = text.find(b":", start, end)
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


def _unescaped_slash(text: bytes, start: int, end: int) -> int:
    """The `@` after a password in which a `/`, `?` or `#` was not percent-encoded; -1 when it is a port."""
    if text[start:end].isdigit():
        return -1
    match = compiled(rb"[^\s\"'<>@]{1,256}@(?=[A-Za-z0-9\[][A-Za-z0-9.-]*[.:\]/])").match(text, start)
    return -1 if match is None or b"://" in match[0] else match.end() - 1


def _name_start(text: bytes, at: int) -> int:
    least = max(0, at - _FAR)
    while at > least and text[at - 1] in _NAME_BYTES:
        at -= 1
    return at


def _name_end(text: bytes, at: int) -> int:
    most = min(len(text), at + _FAR)
    while at < most and text[at] in _NAME_BYTES:
        at += 1
    return at


def _assigned(text: bytes, name: int, end: int) -> Iterator[Span]:
    """The value that is given to the name at `name:end`, if any."""
    equals = compiled(rb"[ \t]*[+:?]?=(?![=~>])[ \t]*").match(text, end)
    if equals is None:
        blanks = compiled(rb"[ \t](?![-= \t])").match(text, end)
        if blanks is None or not _is_option(text, name):
            return
        at, after = blanks.end(), "blanks"
    else:
        at, after = equals.end(), "a name"
        if equals[0][:1] in b" \t" or equals[0][-1:] in b" \t":
            after = "a line's beginning"
            if not _begins_line(text, name):
                return
    value = _value(text, at, _quote_before(text, name))
    if value is None:
        return
    first, last, is_expanded, is_quoted = value
    secret = text[first:last]
    if len(secret) < _LEAST_ASSIGNED or is_placeholder(secret, is_expanded=is_expanded):
        return
    if is_quoted or not _is_code(text, secret, last, text[name:end], after=after):
        yield first, last, "secret-variable", None


def _is_option(text: bytes, name: int) -> bool:
    """Whether a value may follow the name after blanks: `--token x`, `-token x`, `set -x TOKEN x`."""
    before = text[max(0, name - 64) : name]
    if text[name : name + 1] == b"-":
        return not before or before[-1:] in b" \t\n'\"(=;|&"
    return compiled(rb"(?:^|[\s;&|(])(?:set(?:[ \t]+-[A-Za-z-]+)+|setenv)[ \t]+\Z").search(before) is not None


def _begins_line(text: bytes, name: int) -> bool:
    """`name = value` with blanks is an assignment only at the beginning of a line, as in an .ini file."""
    line = text.rfind(b"\n", 0, name) + 1
    return (
        compiled(rb"[ \t+>-]*(?:(?:export|set|const|let|var|local|static|final)[ \t]+)?").fullmatch(
            text, line, name
        )
        is not None
    )


def _quote_before(text: bytes, name: int) -> bytes:
    """The quote in which the whole assignment stands, as in `-e 'TOKEN=two words'`."""
    quote = text[name - 1 : name] if name else b""
    return quote if quote in (b"'", b'"') else b""


def _value(text: bytes, at: int, outer: bytes) -> tuple[int, int, bool, bool] | None:
    """(start, end, is expanded, is quoted) of the shell word at `at`; None when there is none."""
    limit = min(len(text), at + _LONGEST)
    if outer:
        end = text.find(outer, at, limit)
        line = text.find(b"\n", at, limit)
        if end >= 0 and (line < 0 or end < line):
            return (at, end, outer != b"'", True) if end > at else None
    if _closes(text, at):
        return None
    if whole := _quoted(text, at, limit):
        start, end, after, is_expanded = whole
        if after >= len(text) or text[after] in _AFTER_QUOTE:
            return (start, end, is_expanded, True) if end > start else None
    end = _word_end(text, at, limit)
    return (at, end, True, whole is not None) if end > at else None


def _closes(text: bytes, at: int) -> bool:
    """Whether a quote at `at` ends a string of the same line: the program prints `"token=" + token`."""
    quote, after = text[at : at + 1], text[at + 1 : at + 2]
    if quote not in (b"'", b'"') or (after and after not in b" \t\r\n+,;.%)"):
        return False
    line = text.rfind(b"\n", max(0, at - _LONGEST), at) + 1
    return text.count(quote, line, at) % 2 == 1


def _quoted(text: bytes, at: int, limit: int) -> tuple[int, int, int, bool] | None:
    """(start, end, place after the quote, is expanded) of a quoted string that begins at `at`."""
    dollar = 1 if text[at : at + 2] in (b"$'", b'$"') else 0
    quote = text[at + dollar : at + dollar + 1]
    if quote not in (b"'", b'"') or not quote:
        return None
    start = at + dollar + 1
    skips = quote == b'"' or dollar
    pattern = rb"(?:[^" + quote + rb"\\]|\\.)*" if skips else rb"[^']*"
    body = compiled(b"(?s:" + pattern + b")").match(text, start, limit)
    end = start if body is None else body.end()
    if text[end : end + 1] == quote:
        return start, end, end + 1, quote == b'"'
    line = text.find(b"\n", start, limit)  # no closing quote: the line
    end = limit if line < 0 else line
    return start, end, end, quote == b'"'


def _word_end(text: bytes, at: int, limit: int) -> int:
    """The end of a word in which quotes, backslashes and `${...}` may stand."""
    start = at
    while at < limit:
        byte = text[at : at + 1]
        if byte in (b"'", b'"'):
            after = text[at + 1 : at + 2]
            if at > start and (not after or after in _AFTER_QUOTE):
                break  # it closes a quote that was opened before the name
            whole = _quoted(text, at, limit)
            at = whole[2] if whole else at + 1
        elif byte == b"\\" and text[at + 1 : at + 2] not in (b"", b"\n", b"\r"):
            at += 2
        elif (
            dynamic := compiled(rb"\$\{\{[^}\n]*\}\}|\$\{[^}\n]*\}|\{\{[^}\n]*\}\}").match(text, at, limit)
        ) is not None:
            at = dynamic.end()
        elif byte in _WORD_END or text[at : at + 2] == b"$(" or _is_next_pair(text, at):
            break
        else:
            plain = compiled(rb"[^\s;&|<>()`'\"\\$,{]+").match(text, at, limit)
            at = plain.end() if plain else at + 1
    return at


def _is_next_pair(text: bytes, at: int) -> bool:
    """Whether a comma here begins the next `name=value` of a list."""
    return text[at : at + 1] == b"," and compiled(rb", ?[A-Za-z_-]+=").match(text, at) is not None


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
    if compiled(_CODE).fullmatch(value) and not bare.startswith(b"eyJ"):
        return True
    if compiled(rb"[A-Za-z_]+").fullmatch(bare) is None:
        return False
    if after == "blanks":
        return bare.lower() in _PROSE or bare.isupper()
    return after == "a line's beginning" or (name.islower() and (value != bare or follows in (b")", b",")))
