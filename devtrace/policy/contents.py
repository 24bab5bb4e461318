"""What may be kept of a file: all of it, a redacted form, or an HMAC in its place.

A file whose name says that it is a secret (`.env`, `id_ed25519`, `*.pem`) leaves an HMAC under the store's
salt, so that equal contents stay comparable and nobody can guess them; one in which a rule finds a secret
leaves its redacted form.

Lives here: the names, and the judgement over one file. Not here: the rules that find secrets (secrets.py).
Standard library only.
"""

from __future__ import annotations

import fnmatch
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

from devtrace.policy.chain import Policy

# Of the last part of a path, in lower case; the second list says what is none after all.
_SECRET_NAMES = (
    ".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf",
    ".git-credentials", ".htpasswd", ".dockercfg", ".s3cfg", ".boto", ".vault-token", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "*.asc", "*.gpg", "*.age", "*.tfstate", "*.tfvars", "terraform.rc", "credentials", "credentials.json",
    "service-account*.json", "secrets.json", "secrets.yml", "secrets.yaml", "secrets.toml",
)  # fmt: skip
_PLAIN_NAMES = (
    "*.pub", "*.example", "*.sample", "*.template", "*.dist", "*.md", "*.py", "*.ts", "*.js", "*.go", "*.rs",
)  # fmt: skip
_SECRET_PATHS = (".aws/credentials", ".docker/config.json", ".kube/config", ".config/gh/hosts.yml")

_MARKER = re.compile(rb"\[redacted:[a-z0-9-]+:([0-9a-f]{8})\]")
_WIDE = re.compile(rb"[^\s\"'`]{6,512}")
_NARROW = re.compile(rb"[^\s\"'`=:,;()<>\[\]{}|&@/?#]{6,512}")

_SECRET = re.compile("|".join(fnmatch.translate(name) for name in _SECRET_NAMES))
_PLAIN = re.compile("|".join(fnmatch.translate(name) for name in _PLAIN_NAMES))


class Kept(NamedTuple):
    """What of a file goes into its blob. `withheld`: why that is not the true content, or None."""

    data: bytes
    withheld: str | None = None
    hmac: str | None = None  # of the true content; None: nothing is withheld, or there is no salt


class Contents:
    """The judge. For one thread, as its policy is."""

    def __init__(self, policy: Policy, salt: bytes | None):
        self._policy = policy
        self._salt = salt
        self._tags: frozenset[str] = frozenset()

    def remember(self, tags: frozenset[str]) -> None:
        """The tags of secrets that were masked before, be it by a process that knew more than this one."""
        self._tags = tags

    def judge(self, path: bytes, data: bytes, is_public: Callable[[], bool]) -> Kept:
        """What may be kept of this content; `is_public()`: whether HEAD has it there, as it is."""
        by_name = is_secret_path(path)
        if self._tags and not by_name:
            self._policy.learn(word for word in _words(data) if self._policy.tag(word) in self._tags)
        redacted = data if by_name else self._policy.redact_bytes(data)
        if (not by_name and redacted == data) or is_public():
            return Kept(data)
        mac = self.mac(data)
        if not by_name:
            return Kept(redacted, "secret", mac)
        return Kept(placeholder("by its name", len(data), mac), "path", mac)

    def mac(self, data: bytes) -> str | None:
        """An HMAC-SHA-256 under the store's salt, 64 hex digits; None without one."""
        return None if self._salt is None else hmac.digest(self._salt, data, "sha256").hex()


def tags_in(data: bytes) -> set[str]:
    """The tags of the secrets that were masked in a content, as its markers tell them."""
    return {match[1].decode() for match in _MARKER.finditer(data)}


def _words(data: bytes) -> set[bytes]:
    """What in a content a masked value may have been: between blanks, and between signs of syntax too."""
    return {word for pattern in (_WIDE, _NARROW) for word in pattern.findall(data)}


def is_secret_path(path: bytes) -> bool:
    """Whether a file's name says that its content is a secret."""
    text = path.decode("utf-8", "replace").lower()
    name = text.rsplit("/", 1)[-1]
    if any(text == known or text.endswith("/" + known) for known in _SECRET_PATHS):
        return True
    return _SECRET.fullmatch(name) is not None and _PLAIN.fullmatch(name) is None


def placeholder(why: str, size: int, mac: str | None) -> bytes:
    """What stands in a blob for a content that is not kept."""
    known = f", hmac {mac}" if mac else ""
    return f"[withheld {why}: {size} bytes{known}]\n".encode()
