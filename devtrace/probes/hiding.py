"""Which names hide their values in a snapshot, and the hidden values wherever else they stand in it.

Lives here: `hides_name`, `Hidden`. Not here: the rules by which a text is redacted (policy/), walking a value
(snapshot.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from weakref import ref

from devtrace.policy.known import is_maskable
from devtrace.policy.names import compiled, is_a_secrets, is_placeholder, looks_like_a_secret
from devtrace.probes.anatomy import MOST_BITS, WALKS, copied, fields_of, plan_of
from devtrace.probes.kinds import MISSING, SCALARS, Secret, named

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType
    from typing import Any

    from devtrace.probes.anatomy import Plan
    from devtrace.probes.scopes import FrameScope

REDACTED = "***REDACTED***"
_LONGEST_NAME = 128
_MOST_VALUES = 64  # of one snapshot
_MOST_TEXT = 4096  # characters of a hidden text by which it is found again
_LEAST_WHOLE = 4  # characters of a text that is hidden where nothing stands beside it
_DEEP = 3
_MOST_CODES = 1_000

# Whole names, in lower case and without `_` and `-`. What policy/names.py knows by a word of it (token,
# password, api_key ...) is not repeated here. Lists of this sort that tracers bring have some 85 names; those
# of theirs that are missing here name no secret but a person or a place (ipaddress, geolocation), what is
# public (publickey, clientid), or what is most often something else in a program (env, session, nonce).
_WHOLE = frozenset(
    b"2fa apikeys appkey applicationkey auth authheader authorization bearer cardnumber ccnumber"
    b" certificatepin connectionstring connectsid cookie cookies creditcard csrf cvc cvv databaseurl dburl"
    b" dsn gpgkey iban jwt licensekey mfacode mysqlpwd oauth otp otpcode passcode passhash passwords"
    b" passwordb passwordhash passwordsalt pemfile pgpkey phpsessid pin pincode pkcs8 proxyauthorization pwd"
    b" pw recaptchakey recoverycode routingnumber salt secrets securityanswer securitycode sessid sessionid"
    b" setcookie sid signature signaturekey sshkey ssn totp usersession voterid xsrf".split()
)


@lru_cache(maxsize=2048)
def hides_name(name: str) -> bool:
    """Whether what a variable, field, key or option of that name holds is hidden: `db_password`, `apiKey`."""
    words = compiled(rb"(?<=[a-z0-9])(?=[A-Z])").sub(b"_", name[:_LONGEST_NAME].encode("utf-8", "replace"))
    plain = words.lower()
    return is_a_secrets(plain) or plain.translate(None, b"_- .") in _WHOLE


class Hidden:
    """The values that were found under hidden names in one snapshot. For one thread."""

    __slots__ = ("_parts", "wholes")

    def __init__(self) -> None:
        self._parts: list[str] = []  # hidden wherever they stand
        self.wholes: set[str] = set()  # hidden where they stand alone

    def add(self, value: Any) -> list[bytes]:
        """Remember the texts in a hidden value; those of them that can be nothing but secrets."""
        certain = []
        for text in _texts_in(value, _DEEP):
            if len(self.wholes) >= _MOST_VALUES:
                break
            data = text.encode("utf-8", "surrogateescape" if text.isascii() else "replace")
            if text in self.wholes or len(text) < _LEAST_WHOLE or is_placeholder(data, is_expanded=False):
                continue
            self.wholes.add(text)
            if is_maskable(data):
                self._parts.append(text)
            if looks_like_a_secret(data):
                certain.append(data)
        return certain

    def is_one(self, text: str) -> bool:
        """Whether a text is one of them."""
        return text in self.wholes

    def is_in(self, text: str) -> bool:
        """Whether a text is one of them, or holds one that is not too common."""
        return text in self.wholes or any(part in text for part in self._parts)

    def masked(self, text: str) -> str:
        """The text without them."""
        if text in self.wholes:
            return REDACTED
        for part in self._parts:
            if part in text:
                text = text.replace(part, REDACTED)
        return text


def hidden_of(scope: FrameScope, names: Iterable[str]) -> tuple[Hidden | None, list[bytes]]:
    """What hides in a frame from a message: under secrets' names of its own, and within what it reads.

    None: nothing. With it those that can be nothing but secrets. `names`: those that the message reads.
    """
    hidden, certain = Hidden(), []
    known, extra = scope.locals, scope.extra or {}
    for name in hidden_names(scope.frame.f_code):
        value = known.get(name, MISSING)
        certain += hidden.add(named(scope.globals, name) if value is MISSING else value)
    for name in names:
        roots = (extra.get(name, known.get(name)),)
        if name == "args" or name == "this":
            roots = scope.args
        for root in roots:
            for inner_name, inner in _named_in(root):
                if hides_name(inner_name):
                    certain += hidden.add(inner)
    return (hidden if hidden.wholes else None), certain


def hidden_names(code: CodeType) -> tuple[str, ...]:
    """The variables that code reads or sets which have a secret's name."""
    known = _hidden_names.get(id(code))
    if known is None or known[0]() is not code:  # code that is gone may have left its id to another
        if len(_hidden_names) >= _MOST_CODES:
            _hidden_names.clear()
        names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars, *code.co_names)
        known = _hidden_names[id(code)] = (ref(code), tuple(filter(hides_name, names)))
    return known[1]


_hidden_names: dict[int, tuple[Any, tuple[str, ...]]] = {}


def _named_in(value: Any) -> list[tuple[str, Any]]:
    """What an object or a dictionary holds under names."""
    kind = type(value)
    if id(kind) in SCALARS or kind is Secret:
        return []
    plan = plan_of(kind)
    if plan.base is dict:
        pairs = copied(lambda: iter(dict.items(value)), _MOST_VALUES) or ()
        return [(name, inner) for name, inner in pairs if type(name) is str]
    if plan.base is not None:
        return []
    with suppress(RuntimeError):  # another thread changed it meanwhile
        return fields_of(plan, value, _MOST_VALUES)
    return []


def _texts_in(value: Any, depth: int) -> Iterator[str]:
    """The texts and numbers of a value, as they would be written; bounded in depth and width."""
    kind = type(value)
    plan = plan_of(kind)
    if plan.base is str:
        yield str.__getitem__(value, slice(0, _MOST_TEXT))
    elif plan.base is bytes or plan.base is bytearray:
        yield bytes(plan.base.__getitem__(value, slice(0, _MOST_TEXT))).decode("utf-8", "surrogateescape")
    elif plan.base is int and kind is not bool:
        if int.bit_length(value) <= MOST_BITS:
            yield int.__repr__(value)
    elif depth > 0:
        for inner in _inside(plan, value):
            yield from _texts_in(inner, depth - 1)


def _inside(plan: Plan, value: Any) -> list[Any]:
    found: list[Any] = []
    if plan.base is dict:
        found += copied(lambda: iter(dict.values(value)), _MOST_VALUES) or ()
    elif plan.base is not None and plan.base in WALKS:
        first = WALKS[plan.base][0]
        found += copied(lambda: first(value), _MOST_VALUES) or ()
    with suppress(RuntimeError):  # another thread changed it meanwhile
        found += [inner for _, inner in fields_of(plan, value, _MOST_VALUES)]
    return found
