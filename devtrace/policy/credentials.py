"""The secrets that the usual credential files hold, so that they are masked wherever else they turn up.

Each file has a format of its own (netrc(5), the AWS and npm configuration, Docker's `config.json`, git's
credential store); a name beside a value decides where one is not all about secrets, as in `.env`.

Lives here: which files there are, and reading their text. Not here: opening them (services/redaction.py),
finding a value in a text (known.py). Standard library only; guests never read these files.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from devtrace.policy.known import secret_values
from devtrace.policy.names import compiled, is_placeholder, looks_random

Reader = Callable[[bytes], Iterator[bytes]]

_PAIR = rb"""(?m)^[ \t]*(?:export[ \t]+)?["']?([A-Za-z0-9_./:@-]{1,256})["']?[ \t]*[=:]([^\n]*)"""
_NETRC_WORD = rb"\"(?:[^\"\\]|\\.)*\"|\S+"
_IN_DOTENV = (
    rb"""(?ms)^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]{0,256})[ \t]*="""
    rb"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[^\n]*)"""
)


def _netrc(text: bytes) -> Iterator[bytes]:
    words = compiled(_NETRC_WORD).findall(text)
    for word, value in pairwise(words):
        if word in (b"password", b"account"):
            yield _value(value)


def _dotenv(text: bytes) -> Iterator[bytes]:
    pairs = {
        name.decode(): _value(value).decode("utf-8", "surrogateescape")
        for name, value in compiled(_IN_DOTENV).findall(text)
    }
    yield from secret_values(pairs)


def _pairs(*names: bytes) -> Reader:
    """The values of the names that end so, in files of `name = value` or `name: value`."""

    def read(text: bytes) -> Iterator[bytes]:
        for name, value in compiled(_PAIR).findall(text):
            if name.lower().endswith(names):
                yield _value(value)

    return read


def _npmrc(text: bytes) -> Iterator[bytes]:
    """`_auth` and `_password` are base64 there."""
    for value in _pairs(b"_authtoken")(text):
        yield value
    for value in _pairs(b"_auth", b"_password")(text):
        yield value
        yield from _in_basic(value)


def _docker(text: bytes) -> Iterator[bytes]:
    import json

    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        return
    auths = known.get("auths") if isinstance(known, dict) else None
    for one in auths.values() if isinstance(auths, dict) else ():
        for name in ("auth", "password", "identitytoken", "registrytoken"):
            value = one.get(name) if isinstance(one, dict) else None
            if isinstance(value, str):
                yield _encoded(value)
                yield from _in_basic(_encoded(value)) if name == "auth" else ()


def _git(text: bytes) -> Iterator[bytes]:
    from urllib.parse import unquote_to_bytes

    for match in compiled(rb"(?m)^[a-z+]+://([^:/@\s]*)(?::([^@\s]+))?@").finditer(text):
        user, password = match[1], match[2]
        for value in (user if password is None or looks_random(user, 20) else b"", password or b""):
            yield value
            yield unquote_to_bytes(value)


def _pgpass(text: bytes) -> Iterator[bytes]:
    for line in text.splitlines():
        parts = compiled(rb"(?<!\\):").split(line)
        if len(parts) == 5 and not line.startswith(b"#"):
            yield parts[4].replace(b"\\:", b":").replace(b"\\\\", b"\\")


# (environment variable that names the file, its place below the home directory, how it is read)
_AT_HOME: tuple[tuple[str, str, Reader], ...] = (
    ("NETRC", ".netrc", _netrc),
    ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", _pairs(b"secret_access_key", b"session_token")),
    ("NPM_CONFIG_USERCONFIG", ".npmrc", _npmrc),
    ("", ".pypirc", _pairs(b"password")),
    ("", ".docker/config.json", _docker),
    ("", ".git-credentials", _git),
    ("", ".config/git/credentials", _git),
    ("PGPASSFILE", ".pgpass", _pgpass),
    ("", ".config/gh/hosts.yml", _pairs(b"oauth_token")),
    ("", ".cargo/credentials.toml", _pairs(b"token")),
)
# Beside the work: what is below a project's root, by the last part of its name.
_PLAIN = (".example", ".sample", ".template", ".dist", ".defaults", ".schema")


def at_home(home: str, environ: Mapping[str, str]) -> dict[str, Reader]:
    """The credential files of a user, whether they are there or not, and how each is read."""
    files = {environ.get(variable) or f"{home}/{name}": read for variable, name, read in _AT_HOME}
    if directory := environ.get("DOCKER_CONFIG"):
        files[f"{directory}/config.json"] = _docker
    if directory := environ.get("XDG_CONFIG_HOME"):
        files |= {
            f"{directory}/git/credentials": _git,
            f"{directory}/gh/hosts.yml": _pairs(b"oauth_token"),
        }
    return files


def reader_of(name: str) -> Reader | None:
    """How a file beside the work is read: `.env`, `.env.local`, `.npmrc`, ...; None: it is none of them."""
    if name in (".env", ".envrc") or (name.startswith(".env.") and not name.endswith(_PLAIN)):
        return _dotenv
    return {".npmrc": _npmrc, ".netrc": _netrc, ".pypirc": _pairs(b"password"), ".pgpass": _pgpass}.get(name)


def values_in(read: Reader, text: bytes) -> set[bytes]:
    """The secrets of a file's text; what only stands for one, or is too short to be masked, is none."""
    from devtrace.policy.known import is_maskable

    return {value for value in read(text) if not is_placeholder(value) and is_maskable(value)}


def _value(text: bytes) -> bytes:
    """What is in the quotes, or before a comment."""
    text = text.strip()
    if len(text) > 1 and text[:1] == text[-1:] and text[:1] in b"\"'":
        return text[1:-1]
    return text.partition(b" #")[0].rstrip()


def _in_basic(value: bytes) -> Iterator[bytes]:
    """What `user:password`, or a password alone, in base64 hides (RFC 7617, section 2)."""
    try:
        plain = binascii.a2b_base64(value + b"==", strict_mode=False)
    except ValueError:
        return
    if plain.isascii() and plain:
        yield plain
        yield plain.partition(b":")[2]


def _encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
