"""The rules that find secrets: private keys, passwords in URLs, values of secret-named variables.

Each rule is a step of the chain: a function from a text to the spans it would hide. A rule looks for its
keyword before it compiles or runs anything. ANSI sequences inside a value do not hide it.

Lives here: the rules, and what makes a name a secret's name. Not here: what replaces a secret (chain.py).
Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from devtrace.policy.chain import Span

_LEAST_VALUE = 6  # characters; a shorter value of a secret-named variable is found by its name only
_NAME = (
    r"[A-Za-z0-9_.-]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASSWORT|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY"
    r"|SIGNING_?KEY|ENCRYPTION_?KEY|AUTH_?KEY|_PWD|_PW|_PASS|PGPASS)(?![A-Za-z])[A-Za-z0-9_.-]*"
)
_KEYWORDS = ("token", "secret", "pass", "credential", "key", "_pw")
_ANSI = r"(?:\x1b\[[0-9;:?]*[ -/]*[@-~])"
_VARIABLE = r"\$\{?[A-Za-z_][A-Za-z0-9_]*(?:[:#%/][^}]*)?\}?|%[A-Za-z_]+%|\{\{[^{}]*\}\}"
_PLACEHOLDER = rf"{_VARIABLE}|<[^<>]{{1,64}}>|[*xX.\u2022-]{{2,}}"
_PLAIN = frozenset(
    {"true", "false", "yes", "none", "null", "enabled", "disabled", "default", "optional", "required"}
)


def is_secret_name(name: str) -> bool:
    """Whether a variable or option of that name holds a secret: FOO_TOKEN, db-password, API_KEY."""
    return _compiled(f"(?:{_NAME})").fullmatch(name.upper().replace("-", "_")) is not None


def private_keys(text: str) -> Iterator[Span]:
    """PEM and OpenSSH private-key blocks (RFC 7468, section 10); without an end, to the end of the text."""
    if "PRIVATE KEY" not in text:
        return
    label = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    for match in _compiled(rf"-----BEGIN {label}.*?(?:-----END {label}|\Z)", re.DOTALL).finditer(text):
        yield match.start(), match.end(), "private-key"


def url_passwords(text: str) -> Iterator[Span]:
    """The password of `scheme://user:password@host` (RFC 3986, section 3.2.1)."""
    if "://" not in text or "@" not in text:
        return
    pattern = r"[A-Za-z][A-Za-z0-9+.-]{1,31}://[^\s/?#:@'\"<>]{0,256}:([^\s/?#'\"<>]{1,1024}?)@(?=[^\s@/]|\[)"
    for match in _compiled(pattern).finditer(text):
        if not is_placeholder(match[1]):
            yield match.start(1), match.end(1), "url-password"


def secret_assignments(text: str) -> Iterator[Span]:
    """`NAME=value` and `--name=value`, `--name value`, where the name is a secret's."""
    if "=" not in text and "--" not in text:
        return
    lower = text.lower()
    if not any(keyword in lower for keyword in _KEYWORDS):
        return
    quoted = r"\"(?:[^\"\\]|\\.){1,4096}\"|'[^']{1,4096}'|\$'(?:[^'\\]|\\.){1,4096}'"
    value = rf"({quoted}|(?:{_ANSI}|[^\s\"';&|<>()`\x1b]){{1,4096}})"
    assignment = rf"(?<![A-Za-z0-9_.-])(?:--)?{_NAME}{_ANSI}*={_ANSI}*{value}"
    option = rf"(?<!\S)--{_NAME}[ \t]+(?!-){value}"
    for pattern in (assignment, option):
        for match in _compiled(pattern, re.IGNORECASE).finditer(text):
            start, end = match.span(1)
            if text[start] == "$" and text[start + 1] == "'":
                start += 1
            if text[start] in "\"'" and text[end - 1] == text[start]:
                start, end = start + 1, end - 1
            if end > start and not is_placeholder(text[start:end]):
                yield start, end, "secret-variable"


RULES: tuple[Callable[[str], Iterable[Span]], ...] = (private_keys, url_passwords, secret_assignments)


def known_values(environment: Mapping[str, str]) -> Callable[[str], Iterator[Span]]:
    """A step that finds the values of the secret-named variables of this environment, wherever they stand.

    Also with ANSI sequences inside them, and in the Latin-1 reading of their UTF-8 bytes. They are kept in
    memory only.
    """
    values = {
        value
        for name, value in environment.items()
        if is_secret_name(name)
        and len(value) >= _LEAST_VALUE
        and value.lower() not in _PLAIN
        and not is_placeholder(value)
    }
    values |= {value.encode("utf-8", "surrogateescape").decode("latin-1") for value in values}
    values -= {value for value in values if value.isdigit() and len(value) < 8}

    def find(text: str) -> Iterator[Span]:
        is_coloured = "\x1b[" in text
        for value in values:
            at = text.find(value)
            while at >= 0:
                yield at, at + len(value), "known-value"
                at = text.find(value, at + len(value))
            if is_coloured and value[0] in text:
                pattern = f"{_ANSI}*".join(re.escape(character) for character in value[:256])
                for match in _compiled(pattern).finditer(text):
                    yield match.start(), match.end(), "known-value"

    return find


def is_placeholder(value: str) -> bool:
    """Whether a value only stands for a secret: `$VAR`, `${VAR}`, `<token>`, `****`, a marker of ours."""
    plain = _compiled(_ANSI).sub("", value).strip()
    if not plain or plain.startswith(("$(", "`", "[redacted:", "os.environ", "process.env")):
        return True
    return _compiled(_PLACEHOLDER).fullmatch(plain) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)
