"""What makes a name a secret's name, and a value no secret: `API_TOKEN`, `--db-password`; `$VAR`, `<token>`.

Lives here: judging names and values by their looks. Not here: finding them in a text (secrets.py, known.py).
Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Lower case; a letter after it makes another word of it: tokenizer, secretary, passwordless.
_WORD = (
    rb"(?:token|secret|passw(?:or[dt]|d)|passphrase|credentials?|pgpass|sshpass|_pwd|_pw|_pass|(?:gh|hub|lab|ext|ado)_pat"
    rb"|(?:api|access|auth|private|secret|signing|signature|encryption|master|service|account|admin|session"
    rb"|shared|storage|subscription|webhook)[_-]?key)(?![a-z])"
)

# What a name is about when it goes on like this is public: TOKEN_FILE, password-stdin, SECRET_NAME.
_ABOUT = (
    rb"(?:[_.-](?:alg|algorithm|arn|attempts?|budget|cache|class|cmd|command|count|dir|directory|enabled|endpoint"
    rb"|env|expir(?:y|es|ation)|expires[_.-]?(?:in|at)|field|file|filename|format|header|helper|host|id"
    rb"|index|interval|issuer|kind|label|len|length|lifetime|limit|max|min|mode"
    rb"|name|path|policy|port|prefix|prompt|provider|ref|region|regexp?|rotation|scopes?|size|source|status"
    rb"|stdin|store|strength|timeout|ttl|type|uri|url|usage|used|user|username|validator|var|version))+"
)
_PUBLIC = (
    rb".*(?:(?:next|page|paging|continuation|cancel(?:lation)?|sync|bos|eos|pad|unk|mask|sep|cls)[_.-]?token"
    rb"|(?:first|second|third|last|single|multi|one|two|num|n|render|tests?|by|max|total|low|high|band|all)_pass)"
)

_VARIABLE = (
    rb"\$\{\{[^{}]*\}\}"
    rb"|\$\{[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]]*\])?(?:[%#/^,@][^}]*|:?[-+=]|:?\?[^}]*|:[0-9][^}]*)?\}"
    rb"|\$env:[A-Za-z_]+|\$[A-Za-z_][A-Za-z0-9_]*|\$[0-9@*?#!$-]|%[A-Za-z_][A-Za-z0-9_]*%|%\([A-Za-z_]+\)[sd]"
    rb"|\{\{[^{}]*\}\}|\{[A-Za-z_][A-Za-z0-9_.\[\]'\"]*(?:![rsa])?\}"
)
_ONE_NAME = rb"\$\{?[A-Z_][A-Z0-9_]*\}?|\$?\{\{[^{}]*\}\}|\{[A-Za-z_][A-Za-z0-9_.]*\}|%\([A-Za-z_]+\)[sd]"
_STANDS_FOR = (
    rb":?(?:[*.xX_#-]|\xe2\x80[\xa2\xa6])+|<[^<>]{1,64}>|\[[A-Za-z_ -]{1,32}\]|[?]|![01]|%[sdvq]|:[a-z_]+"
    rb"|@[a-z_]+|\$\{[A-Za-z_]+\.[\w.-]+\}"
)
_READS_IT = (
    rb"(?:os\.environ|os\.getenv|getenv|environ[.\[(]|process\.env|import\.meta\.env|System\.getenv|ENV\[|env\."
    rb"|secrets\.|vault:|op://|keyring|\[redacted:|\[withheld:)"
)
_TOO_LONG_FOR_A_WORD = 20
_SCHEME = rb"(?:bearer|basic|token|digest)?[ :=_/.-]*"

_NO_VALUE = frozenset(
    b"true false yes no on off none null nil void undefined enabled disabled default optional required auto"
    b" always never empty unset string str text hidden redacted prompt".split()
)
_TOO_COMMON = frozenset(
    b"password passwd passphrase secret token apikey changeme example username localhost postgres mysql"
    b" mariadb redis rabbitmq mongodb minio root admin administrator guest user test testing tester"
    b" development develop production staging docker vagrant ubuntu debian public private".split()
)

# Words of a sentence, where somebody speaks of an option and does not use it.
PROSE = frozenset(
    b"to is are was the a an for and or in with from if of on that this option flag options flags can will"
    b" must should may has have value values argument instead name string text path file when"
    b" as by at it not you your too also only".split()
)
# What a text of help calls a value: PASSWORD, DB_PASS.
_METAVARIABLE = rb"(?:[A-Z0-9]+_)*(?:PASSWORD|PASSWD|PASS|PASSPHRASE|PWD|TOKEN|KEY|VALUE|STRING|TEXT)"


def telling_words() -> bytes:
    """How the words look that make a name a secret's, as a pattern for lower-case names."""
    return _WORD


def is_secret_name(name: str) -> bool:
    """Whether a variable or option of that name holds a secret: `FOO_TOKEN`, `db-password`, `apiKey`."""
    return is_a_secrets(name.encode("utf-8", "surrogatepass").lower())


@lru_cache(maxsize=1024)  # a source about tokens says the same few names on every line
def is_a_secrets(name: bytes) -> bool:
    """The same for a lower-case name."""
    words = compiled(_WORD).finditer(name)
    return any(compiled(_ABOUT).fullmatch(name, word.end()) is None for word in words) and not (
        compiled(_PUBLIC).fullmatch(name)
    )


def is_placeholder(value: bytes, *, is_expanded: bool = True) -> bool:
    """Whether a value only stands for a secret: `$VAR`, `${VAR}`, `<token>`, `****`, a marker of ours.

    Where nothing is expanded, as in single quotes, a dollar in a password is a dollar.
    """
    plain = value.strip(b" \t\"'")
    if not plain or plain.lower() in _NO_VALUE:
        return True
    if plain.isalnum() and plain[:1] not in b"xXgk":  # what the patterns below cannot fit
        return False
    if compiled(_STANDS_FOR).fullmatch(plain) or compiled(_READS_IT).match(plain):
        return True
    if not is_expanded:
        return compiled(_ONE_NAME).fullmatch(plain) is not None
    if plain.startswith((b"$(", b"`")):
        return True
    if b"$" not in plain and b"%" not in plain and b"{" not in plain:
        return False
    literal = compiled(_VARIABLE).sub(b"", plain)
    return literal != plain and compiled(_SCHEME, re.IGNORECASE).fullmatch(literal) is not None


def is_metavariable(value: bytes) -> bool:
    """Whether a value is what a text of help writes in a value's place: `-p PASSWORD`."""
    return compiled(_METAVARIABLE).fullmatch(value) is not None


def is_too_common(value: bytes) -> bool:
    """Whether a secret of that value could not be masked everywhere without masking plain words."""
    return value.lower() in _TOO_COMMON or (value.isdigit() and len(value) < 8)


def looks_like_a_secret(value: bytes) -> bool:
    """Whether a value is no word, number, path or expression that a text could hold for other reasons."""
    if compiled(rb"[\x21-\x7e\x80-\xff]{8,}").fullmatch(value) is None or value.startswith(
        (b"/", b"./", b"~/", b"../")
    ):
        return False
    if is_too_common(value) or is_placeholder(value, is_expanded=False):
        return False
    return looks_random(value, 8) or len(value) >= _TOO_LONG_FOR_A_WORD


def looks_random(value: bytes, least: int) -> bool:
    """Whether letters and digits are mixed in it as no word does."""
    return (
        len(value) >= least
        and compiled(rb"[A-Za-z]").search(value) is not None
        and compiled(rb"[0-9]").search(value) is not None
    )


@lru_cache(maxsize=512)  # more than all rules together have: what falls out is compiled again
def compiled(pattern: bytes, flags: int = 0) -> re.Pattern[bytes]:
    """A rule's pattern, compiled when it is first needed: a guest that prints nothing pays nothing."""
    return re.compile(pattern, flags)
