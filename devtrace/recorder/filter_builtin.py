"""The filter that comes before all others: the user's own code in detail, without its secrets.

Not recorded: the standard library, what was installed (site-packages, dist-packages, also those of a
virtual environment in the project), DevTrace itself, and code that has no file (`<frozen os>`,
`<template>`). The exception is what was typed (`-c`, `-`, an interactive prompt) or given to `exec` by
the main program: that is the user's. An editable install lies outside of site-packages, and so is the
user's too.

Values are told by their names, split at `_`, `-` and capitals: `apiToken`, `AUTH_TOKEN`, `pan` and
`card_number` are hidden; `author`, `company`, `span` and `token_count` are not.

Lives here: those two judgements. Not here: rules that files add to them (filter_files.py, filters.py),
names that are secret everywhere in DevTrace (policy/names.py). Standard library only, and no dataclass:
guests import this.
"""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from pathlib import Path

from devtrace.policy.names import is_secret_name

NAME = "builtin-default"
PATH = f"<inline:{NAME}>"
VERSION = 1

USER = ""  # what `origin` says of the user's own code; of all else why it is not
STANDARD_LIBRARY = "standard library"
INSTALLED = "installed package"
OURS = "DevTrace itself"
NO_FILE = "code without a file"
GIVEN_TO_EXEC = "text given to exec"

_INSTALLED_AT = ("/site-packages/", "/dist-packages/")
_TYPED = ("<string>", "<stdin>", "<python-input-", "<stdin>-")
_GENERATED = "__create_fn__."  # what dataclasses compile, in the name of the module that they stand in

# Names of a program's variables; a command line has none of them. (policy/names.py knows the others.)
_OURS = (
    r"(?:pans?|cvv|cvc|ssns?|ibans?|jwts?|bearer|otp|totp|creds?|cookies?|(?:x|csrf|xsrf)?sessionid|passphrases"
    r"|passwords|passwds|secrets|pwds?|card_(?:numbers?|no|nr)|credit_cards?|account_numbers?|routing_numbers?"
    r"|social_security(?:_(?:number|no|nr))?|security_codes?|(?:ssh|rsa|dsa|ecdsa|ed25519|pgp|gpg)_(?:private_)?keys?"
    r"|(?:api|access|auth|refresh|bearer|secret|session|id)_tokens|(?:api|private|secret|access)_keys"
    r"|session_(?:ids?|cookies?)|(?:mfa|otp|verification|recovery|backup)_codes?"
    r"|(?:basic|http|proxy|digest)_auth|auth(?:orization)?_headers?|authorization|auth(?=_*$))"
)
_SECRET = rf"(?<![a-z0-9]){_OURS}[0-9]*(?![a-z0-9])"  # compiled when a name is first asked about
_SEAMS = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^0-9A-Za-z]+"
_SECRETS = frozenset({"pass", "pw", "PASS", "PW"})  # as the whole name: a key of a mapping, a field
_NO_SECRETS = frozenset({"PWD", "OLDPWD"})
_LONGEST = 200  # a key of a mapping may be any text: what is longer is no name


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a variable, field or function of that name is hidden unless a filter names it."""
    if name in _NO_SECRETS:
        return False
    name = name[:_LONGEST]
    if name in _SECRETS or is_secret_name(name):
        return True
    words = re.sub(_SEAMS, "_", name).lower()
    # With `secret` in its place policy/names.py judges the rest: `jwt_algorithm` is public as TOKEN_TYPE is.
    return is_secret_name(re.sub(_SECRET, "secret", words))


class Origins:
    """Where code comes from, by its file: told once a file, from strings alone."""

    __slots__ = ("_known", "_ours", "_stdlib")

    def __init__(self) -> None:
        self._ours = _with_slash({_package_folder()})
        self._stdlib = _with_slash(_stdlib_folders())
        self._known: dict[str, str] = {}

    def of(self, path: str, module: str | None, qualname: str) -> str:
        """USER, or why the code is none of the user's."""
        if path.startswith("<"):
            return _without_file(path, module, qualname)
        known = self._known.get(path)
        if known is None:
            if len(self._known) > 10_000:  # a program that compiles without an end
                self._known.clear()
            known = self._known[path] = self._of_file(path)
        return known

    def _of_file(self, path: str) -> str:
        if path.startswith(self._ours):
            return OURS
        if any(folder in path for folder in _INSTALLED_AT):
            return INSTALLED
        return STANDARD_LIBRARY if path.startswith(self._stdlib) else USER


def description() -> str:
    """What the filter is made of, for its hash: it changes when the filter does."""
    parts = (NAME, VERSION, _INSTALLED_AT, _TYPED, _OURS, sorted(_SECRETS), sorted(_NO_SECRETS))
    return "\n".join(map(str, parts))


def _without_file(path: str, module: str | None, qualname: str) -> str:
    if not path.startswith(_TYPED) or qualname.startswith(_GENERATED):
        return NO_FILE
    return USER if module == "__main__" else GIVEN_TO_EXEC


def _package_folder() -> str:
    return str(Path(__file__).parent.parent)


def _stdlib_folders() -> set[str]:
    """Where it was found, and where it or its archive may be. (sysconfig takes 5 ms to import.)"""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    places = {str(Path(os.__file__).parent)}
    for prefix in {sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix}:
        library = f"{prefix}/{sys.platlibdir}"
        places |= {f"{library}/python{version}", f"{library}/python{version.replace('.', '')}.zip"}
        places |= {f"{prefix}/lib/python{version}", f"{prefix}/lib/python{version.replace('.', '')}.zip"}
    return places


def _with_slash(folders: set[str]) -> tuple[str, ...]:
    """Each as it is spelled and as it is, in the form that `str.startswith` takes."""
    real = {os.path.realpath(folder) for folder in folders}
    return tuple(sorted(f"{folder}/" for folder in folders | real if len(folder) > 1))
