"""Whether a short text can hold a secret at all: the quick look, before the chain looks closely.

Most texts can hold none, and two or three scans see it: no word of them is long enough for a credential, and
none of the few signs stands there of which every other rule needs one. A scan is quick where its pattern
begins with characters that are rare, so that each sign is looked for by a rare one of its letters. What has
a sign is shown to the rules that could be meant, and so few texts reach the chain for nothing.

The quick look may say yes for nothing. It must never say no where the chain finds something: who adds a rule
adds its sign here, and tests/policy/test_quick.py goes over all rules to see it.

Lives here: the signs, `quick_look`, `redact_quickly`, `open_end`. Not here: the rules (secrets.py), known
values (known.py), the chain (chain.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from devtrace.policy.chain import Policy
from devtrace.policy.escapes import Plain
from devtrace.policy.secrets import BUT_TOKENS, ENCODED_BEGIN, RULES
from devtrace.policy.tokens import beginnings, middles, tokens

Look = Callable[[str], bool]

LONGEST = 1024  # characters; what is longer is no short text, and goes to the chain unseen
_LEAST = 6  # bytes of the shortest text in which a rule finds something: `7z -pq`, `://:b@`
_LEAST_BEGUN = 4  # characters of what could become a secret
_BLANKS = " \t\r\n\"'()[]{}<>,;|"  # no credential goes on over one
_BARS = ".#=~%*\u2588"  # nor is it made of these: progress is shown with them
_LEAST_RUN = 16  # characters of a credential's form that stand together at least
_LEAST_REST = 7  # of these behind its prefix
_LEAST_MIDDLE = 37  # bytes of the shortest that is told by what stands within it
_LEAST_NAMED = 8  # bytes of the shortest that begins with a command whose letters are all frequent

_R = r"A-Za-z0-9_+/=%.~-"  # every form has a run of these
_SHORT_RUNS = rf"(?:[{_R}]{{0,{_LEAST_RUN - 1}}}+[^{_R}])*+[{_R}]{{0,{_LEAST_RUN - 1}}}+"

_GOES_ON = r"[A-Za-z0-9_.-]*+[\s\S]"  # nothing is given to a name at the end of a text
_COMMAND = r"[\s\"'.]"
_NO_LETTER = r"(?![A-Za-z0-9])"
# The signs: (a word, the letter by which it is looked for, what follows it). Here in any case.
_ANY_CASE = (
    ("token", "k", _GOES_ON),
    ("key", "k", _GOES_ON),
    ("secret", "c", _GOES_ON),
    ("passw", "p", _GOES_ON),
    ("passphrase", "p", _GOES_ON),
    ("credential", "c", _GOES_ON),
    ("pgpass", "p", _GOES_ON),
    ("sshpass", "p", _GOES_ON),
    ("_pass", "_", _GOES_ON),
    ("_pw", "_", _GOES_ON),
    ("_pat", "_", _GOES_ON),
    ("authorization", "z", ""),
    ("cookie", "k", r"[\"']?[ \t]*[:=]"),
    ("curl", "c", _NO_LETTER),
    ("> auth", ">", r"[ \t]"),
)
# And here as it is written.
_AS_WRITTEN = (
    ("AUTH", "U", r"[ \t]"),
    ("_auth", "_", r"[ \t]*="),
    ("requirepass", "q", ""),
    ("jdbc:oracle:", "c", ""),
    ("@tcp(", "@", ""),
    ("@unix(", "@", ""),
    # commands, or options, which no dash begins
    ("-cli", "c", ""),
    ("-SecureString", "-", ""),
    ("-basic", "c", r"\."),
    ("pass:", "p", ""),
    ("/p:", "p", ""),
    ("/gp:", "p", ""),
    ("/pth:", "p", ""),
    ("pass=", "=", ""),
    ("psk", "k", _COMMAND),
    ("obscure", "c", _COMMAND),
    ("vault", "v", _COMMAND),
    ("cargo", "c", _COMMAND),
    ("rabbitmqctl", "q", ""),
    ("sqlplus", "q", _COMMAND),
    ("sqlldr", "q", _COMMAND),
    ("sqlcl", "q", _COMMAND),
    ("expdp", "x", _COMMAND),
    ("impdp", "p", _COMMAND),
    ("expect", "x", r"(?![A-Za-z0-9_])"),
)
# (a character, what follows it).
_CHARACTERS = (
    ("-", r"(?<=[\s\"'(,]-)[0-9#]*+[A-Za-z-]"),  # an option of a command
    ("|", ""),
    ("<", "<<"),
    (":", r"(?://|\\/\\/)[^\s\"'<>@]*+@"),
    (":", r"(?:[0-9]{4,5}|\*):(?![0-9]+:)[\w.*$-]{1,128}:[\w.*@-]{1,128}:"),
    ("$", r"[A-Za-z0-9-]{1,20}\$[^\s:]{18}"),
    ("$", r"[^\s:\"']{30}"),
    ("{", r"(?i:S?(?:SHA|MD5))"),
    *((sign, r" ?(?i:pwd|pass|pword|pw)[ \t]*=") for sign in ";?&"),
    ("\\", r"\\"),  # a share in the network
    ("\\", r"(?:0?33|[eE]|x1[bB]|u001[bB])\["),
    ("\x1b", ""),
)
_FREQUENT = "cpkvPCK"  # the anchors that texts have most often, which are tried first


def redact_quickly(policy: Policy) -> Callable[[str], str]:
    """`policy.redact_text`, for texts of which nearly all hold no secret: the very text comes back then."""
    may_hold_secret, redact = quick_look(policy), policy.redact_text
    return lambda text: redact(text) if may_hold_secret(text) else text


def quick_look(policy: Policy) -> Look:
    """Whether a text can hold a secret: False only where the chain of this policy finds none.

    What the policy learns later counts too. With rules of a user's own every text may hold one.
    """
    known = policy.known
    if not {step for step in policy.steps if step is not known} <= set(RULES):
        return lambda _: True
    is_known = known.may_stand_in if known is not None else _none
    may_hold_token = _token_look()
    has_sign = re.compile(_signs(), re.ASCII).search
    has_short_runs = re.compile(_SHORT_RUNS, re.ASCII).fullmatch

    def may_hold_secret(text: str) -> bool:
        try:
            if not text.isascii():
                text = _one_a_byte(text)
            size = len(text)
            if size < _LEAST:
                return False
            if size > LONGEST or (size >= _LEAST_RUN and not has_short_runs(text) and may_hold_token(text)):
                return True
            if has_sign(text) or (size >= _LEAST_NAMED and _is_named(text)):
                return _may_rule(text) or is_known(text)
            return is_known(text)
        except Exception as error:  # a rule failed: the chain withholds what it cannot judge
            if policy.is_passed_on(error):
                raise
            return True

    return may_hold_secret


def open_end(policy: Policy) -> Callable[[str], int]:
    """How many characters at the end of an unfinished line could be the begin of a secret that goes on.

    They are a word that begins as a credential does, that is as long as half of one, or a piece of a value
    that is known. What is shorter than four characters tells nothing.
    """
    known = policy.known
    begins = re.compile(rf"(?<![A-Za-z0-9])(?:{_all_beginnings()})", re.ASCII).search

    def size(text: str) -> int:
        data = text.encode("utf-8", "surrogateescape") if known is not None else b""
        of_known = known.begun_at_end(data, _LEAST_BEGUN) if known is not None else 0
        word = text[max(map(text.rfind, _BLANKS)) + 1 :]
        if len(word.lstrip(_BARS)) < _LEAST_BEGUN or not (len(word) >= _LEAST_RUN or begins(word)):
            word = ""
        return max(len(word), len(data[len(data) - of_known :].decode("utf-8", "surrogateescape")))

    return size


@cache
def _all_beginnings() -> str:
    return "|".join(pattern.decode() for pattern in (*beginnings(), *map(re.escape, middles())))


def _is_named(text: str) -> bool:
    """The words of which no letter is rare, the first ones only beside what their secrets need."""
    return (
        ("/" in text and "rman" in text)
        or ('"' in text and '"auth' in text)
        or (("'" in text or '"' in text) and ("dentified" in text or "DENTIFIED" in text))
        or "net user" in text
        or "masterauth" in text
    )


def _none(_: str) -> bool:
    return False


def _one_a_byte(text: str) -> str:
    """The text as the chain takes it, one character a byte: the rules are about bytes."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    return data.decode("latin-1")


def _may_rule(text: str) -> bool:
    """Whether a rule finds something, those for credentials of a known form left out."""
    data = text.encode("latin-1")
    return Plain(data).text != data or any(True for step in BUT_TOKENS for _ in step(data, 0))


@cache
def _token_look() -> Look:
    """Whether there is a credential of a known form, or the beginning of a key in base64."""
    no_word_begins_one = re.compile(_no_beginning(), re.ASCII).fullmatch
    within = (*middles(), ENCODED_BEGIN)
    has_middle = re.compile("|".join(re.escape(middle.decode()) for middle in within), re.ASCII).search

    def may_hold_token(text: str) -> bool:
        is_escaped = "\\" in text or "%" in text or "[[" in text  # where a word begins is not seen then
        if (
            not is_escaped
            and no_word_begins_one(text)
            and (len(text) < _LEAST_MIDDLE or not has_middle(text))
        ):
            return False
        data = text.encode("latin-1")
        return ENCODED_BEGIN in data or any(True for _ in tokens(data, 0))

    return may_hold_token


def _no_beginning() -> str:
    """A pattern of texts in which no word begins as a credential does."""
    shapes = [pattern.decode() for pattern in beginnings() if not pattern[:1].isalnum()]
    branches: dict[str, list[str]] = {}
    for prefix in (pattern.decode() for pattern in beginnings() if pattern[:1].isalnum()):
        goes_on = "" if "$" in prefix else f"[{_R}]{{{_LEAST_REST}}}"
        branches.setdefault(prefix[0], []).append(prefix[1:] + goes_on)
    begins = "|".join([*shapes, *(f"{first}(?:{'|'.join(rest)})" for first, rest in branches.items())])
    return rf"\W*+(?:(?!{begins})\w++\W*+)*+"


@cache
def _signs() -> str:
    """All signs as one pattern: an alternative for each letter by which one is looked for."""
    branches: dict[str, list[str]] = {}
    for word, letter, rest in _ANY_CASE:
        for sign in {letter, letter.upper()}:
            branches.setdefault(sign, []).append(_around(word, letter, _in_any_case) + rest)
    for word, letter, rest in _AS_WRITTEN:
        branches.setdefault(letter, []).append(_around(word, letter, re.escape) + rest)
    for sign, rest in _CHARACTERS:
        branches.setdefault(sign, []).append(rest)
    return _grouped(branches)


def _around(word: str, letter: str, written: Callable[[str], str]) -> str:
    """What follows the first such letter of the word, and what must stand before it."""
    before, _, after = word.partition(letter)
    looks_back = f"(?<={written(word)})" if before else ""
    return written(after) + looks_back


def _in_any_case(word: str) -> str:
    return "".join(f"[{each}{each.upper()}]" if each.isalpha() else re.escape(each) for each in word)


def _grouped(branches: dict[str, list[str]]) -> str:
    """One pattern; `re` scans for the characters with which its alternatives begin, if each is a letter."""
    order: Iterable[str] = sorted(branches, key=lambda sign: (_FREQUENT + sign).index(sign))
    return "|".join(f"{re.escape(sign)}(?:{'|'.join(branches[sign])})" for sign in order)
