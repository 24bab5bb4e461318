"""Words: the set of all that stand in a text, and the words of a shell's line with its quotes.

The set is what makes the rules cheap: it is made once for a text, and a rule whose word is not in it has
nothing to look for.

Lives here: `plain_words`, `value_at`, `quoted_at`, `closes_a_string`. Not here: what makes a word a secret
(names.py, commands.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

from devtrace.policy.names import compiled

LONGEST = 4096  # bytes of one value
_WORD_END = b" \t\r\n;&|<>()`"
_AFTER_QUOTE = b" \t\r\n;&|<>(),]}`"
_BREAKS = bytes(byte if chr(byte).isalnum() and byte < 128 else 32 for byte in range(256))
# Words of which the beginning belongs to an escape: `\n`, `\u0026`, `%3D`, `^[[32m`.
_ESCAPED = (
    (b"\\", rb"\\(?:[nrtbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})([A-Za-z0-9]+)"),
    (b"%", rb"%[0-9A-Fa-f]{2}([A-Za-z0-9]+)"),
    (b"[[", rb"\[\[(?:[0-9]{1,3};)*[0-9]{1,3}m([A-Za-z0-9]+)"),
)
_DYNAMIC = rb"\$\{\{[^}\n]{0,256}\}\}|\$\{[^}\n]{0,256}\}|\{\{[^}\n]{0,256}\}\}"
_PLAIN_VALUE = rb"[A-Za-z0-9_+/.~@:^-]+(?=[\s;&|)]|\Z)"  # most values: nothing in it is quoted


def plain_words(text: bytes) -> set[bytes]:
    """Every run of letters and digits in the text; behind an escape, with and without its last letter."""
    words = set(text.translate(_BREAKS).split())
    for sign, pattern in _ESCAPED:
        if sign in text:
            words.update(compiled(pattern).findall(text))
    return words


def value_at(
    text: bytes, at: int, outer: bytes = b"", most: int | None = None
) -> tuple[int, int, bool, bool] | None:
    """(start, end, is expanded, is quoted) of the shell word at `at`; None when there is none.

    `outer`: the quote in which the whole assignment stands; `most`: where the text of it ends at the latest.
    """
    limit = min(len(text) if most is None else most, at + LONGEST)
    if outer:
        end = text.find(outer, at, limit)
        line = text.find(b"\n", at, limit)
        if end >= 0 and (line < 0 or end < line):
            return (at, end, outer != b"'", True) if end > at else None
    if plain := compiled(_PLAIN_VALUE).match(text, at, limit):
        return at, plain.end(), True, False
    if closes_a_string(text, at):
        return None
    if whole := quoted_at(text, at, limit):
        start, end, after, is_expanded = whole
        if after >= min(len(text), limit) or text[after] in _AFTER_QUOTE:
            return (start, end, is_expanded, True) if end > start else None
    end = _word_end(text, at, limit)
    return (at, end, True, whole is not None) if end > at else None


def quoted_at(text: bytes, at: int, limit: int) -> tuple[int, int, int, bool] | None:
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


def closes_a_string(text: bytes, at: int) -> bool:
    """Whether a quote at `at` ends a string of the same line: the program prints `"token=" + token`."""
    quote, after = text[at : at + 1], text[at + 1 : at + 2]
    if quote not in (b"'", b'"') or (after and after not in b" \t\r\n+,;.%)"):
        return False
    line = text.rfind(b"\n", max(0, at - LONGEST), at) + 1
    return text.count(quote, line, at) % 2 == 1


def _word_end(text: bytes, at: int, limit: int) -> int:
    """The end of a word in which quotes, backslashes and `${...}` may stand."""
    start = at
    while at < limit:
        byte = text[at : at + 1]
        if byte in (b"'", b'"'):
            after = text[at + 1 : at + 2]
            if at > start and (not after or after in _AFTER_QUOTE):
                break  # it closes a quote that was opened before the name
            whole = quoted_at(text, at, limit)
            at = whole[2] if whole else at + 1
        elif byte == b"\\" and text[at + 1 : at + 2] not in (b"", b"\n", b"\r"):
            at += 2
        elif byte == b"{" and (run := compiled(rb"\{+(?=\{\{)").match(text, at, limit)):
            at = run.end()  # no more than two of a run begin anything
        elif byte in (b"$", b"{") and (dynamic := compiled(_DYNAMIC).match(text, at, limit)):
            at = dynamic.end()
        elif byte in _WORD_END or text[at : at + 2] == b"$(" or _is_next_pair(text, at):
            break
        else:
            plain = compiled(rb"[^\s;&|<>()`'\"\\$,{]+").match(text, at, limit)
            at = plain.end() if plain else at + 1
    return min(at, limit)


def _is_next_pair(text: bytes, at: int) -> bool:
    """Whether a comma here begins the next `name=value` of a list."""
    return text[at : at + 1] == b"," and compiled(rb", ?[A-Za-z_-]+=").match(text, at) is not None
