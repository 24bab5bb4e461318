"""Secrets known by their place in a file, a header or a connection string.

`Authorization: Bearer ...`, `Cookie: session=...`, netrc(5), `.npmrc`, Docker's `config.json`, `.pgpass`,
shadow(5), `Server=...;Pwd=...`.

Lives here: those places, and `placed_secrets`. Not here: names that tell by themselves, as `password: ...`
(secrets.py), commands (commands.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from functools import cache

from devtrace.policy.chain import Span
from devtrace.policy.names import PROSE, compiled, is_metavariable, is_placeholder, looks_random

_COOKIE_VALUE = 16  # bytes of a cookie that is taken for a session's by its looks
# What follows the word in a text about it, and no credential.
_ABOUT_HEADERS = frozenset(
    b"token tokens header headers auth authentication authorization scheme schemes realm access jwt"
    b" credential credentials required failed denied error code string value request response".split()
)

_AUTHORIZATION = (
    rb"(?i:authorization)(?:[\"']?[ \t]*[:=]|[\"'](?:\][ \t]*=(?!=)|[ \t]*,|[ \t]*=>))[ \t]*[\"'bf]{0,2}"
    rb"(?:([A-Za-z][A-Za-z-]{1,24})[ \t]+(?:(?:api[_-]?key|token)=)?[\"']?)?([^\s\"'`,;\\]{3,4096})"
)
_SCHEMES = frozenset(
    b"bearer basic token apikey api-key key negotiate ntlm oauth bot ssws geniekey splunk"
    b" deepl-auth-key snyk klaviyo-api-key sso-key nats".split()
)
_COOKIES = (
    rb"(?i:(?<![a-z])(?:set-)?cookie)[\"']?[ \t]*[:=][ \t]*[\"']?(?=[\w.-]{1,128}=)([^\r\n\"']{3,8192})"
)
_CURL_COOKIES = rb"(?:-b|--cookie)[ \t=]*[\"']?(?=[\w.-]{1,128}=)([^\r\n\"']{3,8192})"
_COOKIE = rb"([\w.%-]{1,128})=([^;\s,]{1,4096})"
_SESSIONS = rb"(?i:sess|sid\b|token|auth|jwt|csrf|xsrf|remember|secret|login|credential|passw|api_?key)"
_OF_A_COOKIE = frozenset(b"path domain expires max-age samesite version priority comment".split())

_GAP = rb"(?:[ \t]*+\r?\n[ \t\r\n+-]{0,64}+|[ \t]++)"  # a diff's sign stands only behind a line's end
_NETRC = (
    rb"(?<!\w)(?:machine" + _GAP + rb"[^\s#]{1,256}+|default(?=" + _GAP + rb"(?:login|account)))"
    rb"(?:" + _GAP + rb"(?:login|account|port)" + _GAP + rb"[^\s#]{1,256}+){0,3}" + _GAP + rb"password" + _GAP
    + rb"(?:\"((?:[^\"\\\n]|\\.){1,256}+)\"|([^\s\"']\S{0,1024}))"
)  # fmt: skip
_NPM = rb"(?<!\w)_auth[ \t]*=[ \t]*[\"']?([^\s\"']{4,4096})"
_DOCKER = rb"\"auth\\?\"[ \t]*:[ \t]*\\?\"([A-Za-z0-9+/]{8,4096}={0,2})\\?\""
# hostname:port:database:username:password
_LEAST_PGPASS = 6  # bytes of a password behind a port that is none of PostgreSQL's
_FAR_BACK = 320  # bytes before `@tcp(` in which user and password stand
_ANY_PORT = rb":[0-9]{4,5}:[\w.*$-]{1,128}+:[\w.*@-]{1,128}+:"
_PGPASS = (
    rb"(?m)(?:^|(?<=[\s+\"'-]))(?!(?:[0-9a-fA-F]{1,4}:){3})[\w.*-]{1,255}:(?:[0-9]{4,5}|\*):"
    rb"(?![0-9]+:)[\w.*$-]{1,128}:[\w.*@-]{1,128}:([^\s\"']{1,1024})(?=[\"']|[ \t\r]*$)"
)
# crypt(5), Apache's and Django's forms of a password's hash.
_HASH = (
    rb"\$(?:(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
    rb"|[56]\$(?:rounds=[0-9]{4,9}\$)?[^\s$:]{1,16}\$[./A-Za-z0-9]{43,86}"
    rb"|2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}"
    rb"|(?:g?y|7)\$[./A-Za-z0-9$]{20,160}"
    rb"|(?:argon2(?:id|i|d)|scrypt|pbkdf2(?:-sha[0-9]+)?)\$[./A-Za-z0-9$=,+-]{30,400}"
    rb"|[PH]\$[./A-Za-z0-9]{31}(?![./A-Za-z0-9]))"
)
_HASHED = rb"(?:pbkdf2_sha(?:1|256)|bcrypt_sha256|argon2)\$[^\s:\"']{30,400}"
_LDAP_HASH = rb"\{S?(?:SHA|MD5)[0-9]{0,3}\}[A-Za-z0-9+/]{20,200}={0,2}"

# In `Server=...;Pwd=...` and `?user=...&pass=...`, where the names alone are those of other things too.
_CONNECTION = (
    rb"(?:(?<=[;?&])|(?<=[;&] ))(?i:pwd|pass|pword|pw)[ \t]*=[ \t]*(?![/~$ ])"
    rb"(?:'([^'\n]+)'|([^;&\s\"'<>#)]{3,1024}))"
)
# A string of SQL, also in one of a shell.
_SQL_STRING = rb"(?:'([^'\n]{1,256})'|\\{0,3}\"([^\"\\\n]{1,256})\\{0,3}\")"
_SQL_USER = (
    rb"(?i:(?:alter|create)\s{1,8}(?:user|role|login|group)\s[^;]{1,256}?\bpassword\s{0,8}=?\s{0,8})"
    + _SQL_STRING
)
_SQL_IDENTIFIED = (
    rb"(?i:identified\s{1,8}(?:with\s{1,8}\S{1,64}\s{1,8})?(?:by|as)\s{1,8}(?:password\s{1,8})?)"
    + _SQL_STRING
)
_SQL_SET = rb"(?i:set\s{1,8}password\b[^;\n=]{0,128}=\s{0,8}(?:password\s{0,8}\()?\s{0,8})" + _SQL_STRING
_REDIS = (
    rb"(?:requirepass|masterauth)[\"']?[ \t]+(?:'([^'\n]{3,256})'|\"([^\"\n]{3,256})\"|([^\s\"'<]{3,256}))"
)
_REDIS_AUTH = rb"(?i:auth)(?<=> ....)[ \t]+(?:[\w.-]{1,64}[ \t]+)?([^\s\"'<>]{3,256})[ \t\r]*(?:\n|\Z)"
_REDIS_ALONE = (
    rb"(?:(?<=\n)|(?<![\x00-\xff]))AUTH[ \t]+(?:[\w.-]{1,64}[ \t]+)?"
    rb"(?=[^\s0-9]{0,64}[0-9])(?=[^\sA-Za-z]{0,64}[A-Za-z])([^\s\"'<>]{6,256})[ \t\r]*(?:\n|\Z)"
)
_AWS_ASKS = (
    rb"(?i:secret access key)(?:[ \t]*\[[^\]\n]{0,40}\])?:[ \t]*([A-Za-z0-9+/]{30,64})(?![A-Za-z0-9+/])"
)
_GO_DSN = rb"@(?:tcp|unix)\("
_ORACLE = rb"jdbc:oracle:[a-z]+:[^\s/@:]{1,128}/([^\s@/\"']{1,256})@"


# (rule, the word that tells of it, how its pattern begins in lower case, the pattern)
_PLACES = (
    ("netrc-password", b"machine", b"machine", _NETRC),
    ("netrc-password", b"default", b"default", _NETRC),
    ("npm-auth", b"auth", b"_auth", _NPM),
    ("docker-auth", b"auth", b'"auth', _DOCKER),
    ("connection-password", b"pwd", b"pwd", _CONNECTION),
    ("connection-password", b"pass", b"pass", _CONNECTION),
    ("connection-password", b"pword", b"pword", _CONNECTION),
    ("connection-password", b"pw", b"pw", _CONNECTION),
    ("command-password", b"alter", b"alter", _SQL_USER),
    ("command-password", b"create", b"create", _SQL_USER),
    ("command-password", b"identified", b"identified", _SQL_IDENTIFIED),
    ("command-password", b"requirepass", b"requirepass", _REDIS),
    ("command-password", b"masterauth", b"masterauth", _REDIS),
    ("connection-password", b"oracle", b"jdbc:oracle:", _ORACLE),
    ("password-hash", b"pbkdf2", b"pbkdf2_sha", _HASHED),
    ("password-hash", b"bcrypt", b"bcrypt_sha", _HASHED),
    ("password-hash", b"argon2", b"argon2$", _HASHED),
    *(
        ("password-hash", kind, b"{" + kind + b"}", _LDAP_HASH)
        for kind in b"sha ssha md5 smd5 sha256 ssha256 sha512 ssha512".split()
    ),
)

# (rule, a word of its sign as it is written, the sign, the pattern): words that stand in many texts.
_SIGNED = (
    ("command-password", b"PASSWORD", b"SET PASSWORD", _SQL_SET),
    ("command-password", b"password", b"set password", _SQL_SET),
    ("command-password", b"AUTH", b"AUTH ", _REDIS_AUTH),
    ("command-password", b"AUTH", b"AUTH ", _REDIS_ALONE),
    ("command-password", b"auth", b"auth ", _REDIS_AUTH),
    ("secret-variable", b"Secret", b"Secret Access Key", _AWS_ASKS),
)
_SIGNED_WORDS = frozenset(place[1] for place in _SIGNED)
_GO_WORDS = frozenset((b"tcp", b"unix"))

RULE_IDS = frozenset({"authorization", "cookie", "pgpass-password", *(place[0] for place in _PLACES)})


@cache
def words() -> frozenset[bytes]:
    """The words of which one stands in every text in which this rule could find a secret."""
    told = {b"authorization", b"cookie", b"curl", *(place[1] for place in _PLACES)}
    return frozenset(form for word in told for form in (word, word.upper(), word.capitalize()))


def patterns() -> Iterator[bytes]:
    """How the places look that the tables name, and those with a sign of their own."""
    yield from (place[3] for place in (*_PLACES, *_SIGNED))
    yield from (_AUTHORIZATION, _HASH, _PGPASS)


def placed_secrets(text: bytes, words: set[bytes]) -> Iterator[Span]:
    """The secrets in such places; `words`: those of `words()` that stand in the text."""
    present = {word.lower() for word in words}
    lower = text.lower()
    if b"authorization" in present:
        yield from _authorizations(_at_each(text, lower, b"authorization", _AUTHORIZATION), text)
    if b"cookie" in present:
        yield from _cookies(_at_each(text, lower, b"cookie", _COOKIES), text)
    if b"curl" in present:
        yield from _cookies(_at_each(text, lower, b"-b", _CURL_COOKIES), text)
        yield from _cookies(_at_each(text, lower, b"--cookie", _CURL_COOKIES), text)
    for rule, word, sign, pattern in _PLACES:
        if word in present:
            yield from _values(_at_each(text, lower, sign, pattern), rule)


def _at_each(text: bytes, lower: bytes, sign: bytes, pattern: bytes) -> Iterator[re.Match[bytes]]:
    """Where a pattern that begins with this sign fits: bytes are found quicker than patterns."""
    fits = compiled(pattern)
    at = lower.find(sign)
    while at >= 0:
        hit = fits.match(text, at)
        if hit is not None:
            yield hit
        at = lower.find(sign, at + 1)


def _values(hits: Iterable[re.Match[bytes]], rule: str) -> Iterator[Span]:
    """What the group of each holds, if it is a value and stands for none."""
    for hit in hits:
        value = hit[hit.lastindex or 0]
        if is_placeholder(value) or is_metavariable(value) or value.lower() in PROSE:
            continue
        if rule != "docker-auth" or _is_a_pair(value):
            yield *hit.span(hit.lastindex or 0), rule, None


def _is_a_pair(encoded: bytes) -> bool:
    """Whether `user:password` stands there in base64."""
    try:
        return b":" in binascii.a2b_base64(encoded)
    except binascii.Error:
        return False


def signed_secrets(text: bytes, words: set[bytes]) -> Iterator[Span]:
    """What no word tells of, but a sign: `$6$...` of shadow(5), `host:5432:db:user:...` of .pgpass."""
    if b"$" in text:
        for hit in compiled(_HASH).finditer(text):
            yield *hit.span(), "password-hash", None
    if b":5432:" in text or b":6432:" in text or b":*:" in text:
        yield from _values(compiled(_PGPASS).finditer(text), "pgpass-password")
    elif compiled(_ANY_PORT).search(text):
        hits = (hit for hit in compiled(_PGPASS).finditer(text) if looks_random(hit[1], _LEAST_PGPASS))
        yield from _values(hits, "pgpass-password")
    told = words & _SIGNED_WORDS
    for rule, word, sign, pattern in _SIGNED if told else ():
        if word in told:
            yield from _values(_at_each(text, text, sign, pattern), rule)
    if words & _GO_WORDS:
        yield from _go_passwords(text)


def _go_passwords(text: bytes) -> Iterator[Span]:
    """`ana:...@tcp(127.0.0.1:3306)/db`, as Go's driver of MySQL takes it."""
    for hit in compiled(_GO_DSN).finditer(text):
        words = compiled(rb"[\s\"'`]").split(text[max(0, hit.start() - _FAR_BACK) : hit.start()])
        _, colon, password = words[-1].partition(b":")
        if colon and password and not password.startswith(b"//") and not is_placeholder(password):
            yield hit.start() - len(password), hit.start(), "connection-password", None


def _authorizations(hits: Iterable[re.Match[bytes]], text: bytes) -> Iterator[Span]:
    for hit in hits:
        scheme, value = (hit[1] or b"").lower(), hit[2]
        if value.lower().rstrip(b".") in _ABOUT_HEADERS | PROSE or is_placeholder(value):
            continue
        if value.startswith(
            (b"$", b"{{")
        ):  # `${{ secrets.X }}`, `$(cat token)`: the rest stands behind a blank
            continue
        if is_metavariable(value) or b"=" in value.rstrip(b"=")[:12] or b"(" in value[:24]:
            continue
        if value.isalpha() and compiled(rb"[ \t]*(?:[\"'\r\n\\]|\Z)").match(text, hit.end()) is None:
            continue  # a sentence
        if scheme in _SCHEMES or (not scheme and looks_random(value, 16)) or looks_random(value, 20):
            yield *hit.span(2), "authorization", None


def _cookies(hits: Iterable[re.Match[bytes]], text: bytes) -> Iterator[Span]:
    until = 0
    for line in hits:
        if line.start() < until:
            continue
        until = line.end()
        for hit in compiled(_COOKIE).finditer(text, *line.span(1)):
            if hit[1].lower() not in _OF_A_COOKIE and _is_a_session(hit[1], hit[2]):
                yield *hit.span(2), "cookie", None


def _is_a_session(name: bytes, value: bytes) -> bool:
    if is_placeholder(value) or len(value) < 4:
        return False
    return compiled(_SESSIONS).search(name) is not None or looks_random(value, _COOKIE_VALUE)
