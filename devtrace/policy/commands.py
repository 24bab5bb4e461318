"""Secrets known by their place in a command: `curl -u ana:...`, `mysql -p...`, `echo ... | docker login`.

The command's name decides, wherever it stands: behind `sudo`, in `bash -c '...'`, in a pipeline, behind a
prompt or a number of the history, in a list of arguments. Options that tell what they are, as `--password`,
are left to secrets.py.

Lives here: the table of commands, and `command_secrets`. Not here: secrets known by their place in a file or
a header (places.py), how a shell's words end (words.py). Standard library only, and no dataclass: guests
import this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice

from devtrace.policy.chain import Span
from devtrace.policy.names import PROSE, compiled, is_a_secrets, is_metavariable, is_placeholder, looks_random
from devtrace.policy.words import LONGEST, quoted_at, value_at

_RULE, _PIPED, _ANSWER = "command-password", "piped-password", "prompt-answer"
RULE_IDS = frozenset((_RULE, _PIPED, _ANSWER))
_FAR_BACK = 1024  # bytes of a line before a command's name in which a quote may be open
_MOST_VALUES = 16  # of one command: what goes on longer is no command
_MOST_INSIDE = 4  # times that a command's name may stand in what was looked at for the same name
_MOST_ECHOES = 16  # in one line
_LEAST_USER = 16  # bytes of a token in a user's place

_LISTED = bytes(32 if byte in b"\"'," else byte for byte in range(256))  # a list of arguments as a line
_WHOLE, _AFTER_COLON, _AFTER_PERCENT, _AFTER_COMMA, _BEFORE_AT = "whole", ":", "%", ",", "@"

# (commands, words of which one must stand there too, the option up to its value, what of the value is secret)
Row = tuple[bytes, bytes, bytes, str]


def _blank(letter: bytes) -> bytes:
    return rb"-" + letter + rb"[ \t]+(?!-)"


def _glued(letter: bytes) -> bytes:
    return rb"-" + letter + rb"(?=[^\s-])"


def _either(letter: bytes) -> bytes:
    return rb"-" + letter + rb"(?:[ \t]+(?!-)|=?(?=[^\s=-]))"


_OTHERS = rb"(?:-\S{1,256}[ \t]+(?:\d{1,9}[ \t]+)?){0,8}"  # options of htpasswd

_OPTIONS: tuple[Row, ...] = (
    (
        b"curl curlie",
        b"",
        rb"(?:-[sSkLfviIgGnNOJaBjlpqRZ0-9#]{0,12}[uU][ \t]*|--(?:proxy-)?user[ \t=]+)",
        _AFTER_COLON,
    ),
    (b"curl curlie", b"", rb"--(?:pass|proxy-pass|oauth2-bearer)[ \t=]+(?!-)", _WHOLE),
    (b"http xh", b"a auth", rb"(?:-a[ \t]*|--auth[ \t=]+)", _AFTER_COLON),
    (
        b"mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlslap mysqlsh mysqlpump mysqlbinlog"
        b" mycli mariadb mariadb-dump mariadb-admin mariadb-import mariadb-check mariadb-show mysqld_safe",
        b"",
        _glued(b"p"),
        _WHOLE,
    ),
    (b"mycli litecli pgcli", b"", rb"--pass[ \t=]+(?!-)", _WHOLE),
    (
        b"mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat mongotop mongofiles cqlsh"
        b" cypher-shell couchbase-cli cbq beeline arangosh rdesktop twine asadmin",
        b"",
        _blank(b"p"),
        _WHOLE,
    ),
    (b"redis-cli keydb-cli valkey-cli", b"", rb"(?:--pass[ \t=]+|(?:AUTH|auth)[ \t]+)(?!-)", _WHOLE),
    (b"redis-cli keydb-cli valkey-cli", b"", _either(b"a"), _WHOLE),
    (b"sshpass", b"", _either(b"p"), _WHOLE),
    (
        b"ldapsearch ldapmodify ldapadd ldapdelete ldapcompare ldapmodrdn ldapwhoami ldapexop ldapurl",
        b"",
        _either(b"w"),
        _WHOLE,
    ),
    (b"ldappasswd", b"", _either(b"[was]"), _WHOLE),
    (
        b"docker podman nerdctl buildah skopeo crane helm oras az cf ibmcloud oc argocd rancher",
        b"login",
        _either(b"p"),
        _WHOLE,
    ),
    (b"openssl", b"", rb"(?:-[a-z]{1,16}[ \t]+)?pass:", _WHOLE),
    (
        b"openssl",
        b"enc dgst mac cms aes aes128 aes256 des des3 bf camellia camellia256 chacha20",
        rb"-(?:k|K|hmac)[ \t]+(?!-)",
        _WHOLE,
    ),
    (b"gpg gpg2", b"", rb"--passphrase[ \t]+(?!-)", _WHOLE),
    (b"sqlcmd bcp ipmitool mssql-cli", b"", _either(b"P"), _WHOLE),
    (b"zip unzip zipcloak", b"", rb"-[A-Zac-z0-9]{0,8}P(?:[ \t]+(?!-)|(?=[^\s-]))", _WHOLE),
    (b"7z 7za 7zr 7zz 7zzs unrar rar", b"", rb"-h?p(?=[^\s-])", _WHOLE),
    (
        b"smbclient rpcclient smbget smbmap smbcacls smbtree nmblookup net winexe wmic",
        b"",
        rb"(?:-U[ \t]*|--user[ \t=]+)",
        _AFTER_PERCENT,
    ),
    (b"smbmap crackmapexec nxc netexec evil-winrm kinit", b"", _blank(b"p"), _WHOLE),
    (b"xfreerdp xfreerdp3 wlfreerdp sdl-freerdp mstsc", b"", rb"/(?:p|gp|pth):", _WHOLE),
    (b"ssh-keygen", b"", rb"-[NP](?:[ \t]+(?!-)|(?=[^\s-]))", _WHOLE),
    (b"pscp plink psftp putty pageant", b"", _blank(b"pw"), _WHOLE),
    (b"lftp", b"", rb"-u[ \t]*", _AFTER_COMMA),
    (b"ncftp ncftpput ncftpget useradd usermod", b"", _blank(b"p"), _WHOLE),
    (b"snmpget snmpwalk snmpset snmpbulkwalk snmptrap snmpgetnext", b"", _blank(b"[AXc]"), _WHOLE),
    (b"keytool jarsigner", b"", rb"-(?:store|key|new|src|dest|srcstore|deststore)pass[ \t]+(?!-)", _WHOLE),
    (b"apksigner zipalign", b"", rb"--(?:ks|key)-pass[ \t=]+pass:", _WHOLE),
    (b"mount mount.cifs sshfs curlftpfs", b"", rb"(?<=[\s,\"'=(])(?:-o)?pass=", _WHOLE),
    (b"gh", b"secret", rb"(?:-b|--body)[ \t=]+(?!-)", _WHOLE),
    (b"kubectl oc", b"secret", rb"--from-literal[ \t=]+['\"]?[^\s=]{1,128}=", _WHOLE),
    (b"nuget dotnet", b"push", rb"(?:-k|--api-key|-ApiKey)[ \t=]+(?!-)", _WHOLE),
    (b"nmcli", b"", rb"(?:password|wifi-sec\.psk|802-11-wireless-security\.psk)[ \t]+(?!-)", _WHOLE),
    (b"fly flyctl", b"secrets", rb"[A-Za-z_][A-Za-z0-9_]{1,128}=", _WHOLE),
    (b"jenkins-cli jenkins-cli.jar", b"", rb"-auth[ \t]+", _AFTER_COLON),
    (b"rclone", b"obscure", rb"obscure[ \t]+(?!-)", _WHOLE),
    (b"vault", b"login", rb"login[ \t]+(?:token=)?(?![-\w]+=|-)", _WHOLE),
    (b"cargo", b"login", rb"login[ \t]+(?:--registry[ \t=]+\S+[ \t]+)?(?!-)", _WHOLE),
    (b"aws npm yarn pnpm pip poetry", b"set", rb"set[ \t]+(?P<name>[^\s=]{3,256})[ \t]+(?!-)", _WHOLE),
    (b"poetry", b"config", rb"pypi-token\.[\w-]+[ \t]+(?!-)", _WHOLE),
    (b"poetry composer", b"config", rb"http-basic\.[\w.-]+[ \t]+\S+[ \t]+(?!-)", _WHOLE),
    (b"rabbitmqctl", b"", rb"(?:add_user|change_password|authenticate_user)[ \t]+\S+[ \t]+(?!-)", _WHOLE),
    (b"wpa_passphrase", b"", rb"(?<=wpa_passphrase)[ \t]+(?:'[^'\n]*'|\"[^\"\n]*\"|\S+)[ \t]+", _WHOLE),
    (
        b"net",
        b"use",
        rb"\\\\[^\s\"']+[\"']?[ \t]+(?:/[Uu](?:ser|SER):\S+[ \t]+)?(?![/*-])",
        _WHOLE,
    ),
    (b"net", b"user", rb"(?<=net )user[ \t]+[^\s/]+[ \t]+(?![/*-])", _WHOLE),
    (
        b"sqlplus sqlldr expdp impdp rman sqlcl",
        b"",
        rb"[A-Za-z_][\w$#.-]{0,64}/(?=[^\s/@\"']+(?:@|[\"']?(?:\s|$)))",
        _BEFORE_AT,
    ),
    (
        b"htpasswd",
        b"",
        rb"-[a-zA-Z]{0,12}b[a-zA-Z]{0,12}[ \t]+" + _OTHERS + rb"\S{1,256}[ \t]+\S{1,256}[ \t]+(?!>)",
        _WHOLE,
    ),
    (
        b"htpasswd",
        b"",
        rb"-(?=[a-zA-Z]{0,12}n)[a-zA-Z]{0,12}b[a-zA-Z]{0,12}[ \t]+"
        + _OTHERS
        + rb"[^\s-]\S{0,255}[ \t]+(?![>-])",
        _WHOLE,
    ),
    (b"openssl", b"passwd", rb"passwd[ \t]+(?:-(?:salt[ \t]+\S+|[a-z0-9]+)[ \t]+)+(?!-)", _WHOLE),
    (b"ConvertTo-SecureString", b"", rb"(?<=String)[ \t]+(?:-String[ \t]+)?(?!-)", _WHOLE),
)  # fmt: skip

_VARIABLE = rb"\"?\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})\"?(?=\s|\Z)"

# Commands that read a password from their standard input: what is piped to them is one.
_READS_ONE = (
    rb"--password-stdin\b|--token-stdin\b|--with-token\b|--passphrase-fd\b|\bchpasswd\b|\bkinit\b|\bvncpasswd\b"
    rb"|\bsudo\b[^|\n]{0,64}?[ \t](?:-[A-Za-z]*S\b|--stdin\b)|\bpasswd\b[^|\n]{0,64}--stdin\b"
    rb"|\bcryptsetup\b|-pass(?:in|out)?[ \t]+stdin\b|\bsecrets?[ \t]+(?:set|create|put|versions[ \t]+add)\b"
    rb"|\bwrangler\b[^|\n]{0,64}\bsecret\b|\bhtpasswd\b[^|\n]{0,64}[ \t]-[a-zA-Z]*i"
)
_READERS = frozenset(
    b"stdin with chpasswd kinit vncpasswd sudo cryptsetup pass passin secret secrets fd htpasswd".split()
)
_ASKED = rb"(?i:assw|passphrase|passcode|\bpin\b)[^\n]{0,200}(?:\n[^\n]{0,200}){0,3}?"
_SENT = rb"\bsend(?:line)?\b(?:[ \t]+--)?[ \t(]*[bfru]?(?=[\"'])"


@cache
def names() -> frozenset[bytes]:
    """The words of which one stands in every text in which this rule could find a secret."""
    return frozenset({_first(name) for name in _rows()} | {b"send", b"sendline"} | _READERS)


def options() -> Iterator[tuple[bytes, bytes, bytes]]:
    """(command, the words of which it needs one, the option up to its value) for each of them."""
    for commands, needs, option, _ in _OPTIONS:
        yield from ((command, needs, option) for command in commands.split())


def command_secrets(text: bytes, words: set[bytes]) -> Iterator[Span]:
    """The passwords in the commands that the text tells of; `words`: all that stand in it."""
    for first in words & _firsts().keys():
        for name in _firsts()[first]:
            rows = [row for row in _rows()[name] if not row[1] or not words.isdisjoint(row[1].split())]
            if rows:
                yield from _given(text, name, rows)
    if not words.isdisjoint(_READERS):
        if b"echo" in words or b"printf" in words:
            yield from _piped(text)
        if b"<<<" in text:
            yield from _here_strings(text)
    if b"send" in words or b"sendline" in words:
        yield from _answers(text)


@cache
def _rows() -> dict[bytes, list[Row]]:
    """What is known of each command."""
    rows: dict[bytes, list[Row]] = {}
    for row in _OPTIONS:
        for name in row[0].split():
            rows.setdefault(name, []).append(row)
    return rows


@cache
def _firsts() -> dict[bytes, list[bytes]]:
    """The commands by the first word of their names."""
    firsts: dict[bytes, list[bytes]] = {}
    for name in _rows():
        firsts.setdefault(_first(name), []).append(name)
    return firsts


def _first(name: bytes) -> bytes:
    return name.partition(b"-")[0].partition(b".")[0].partition(b"_")[0]


def _given(text: bytes, name: bytes, rows: list[Row]) -> Iterator[Span]:
    """What is given to the options of each command of that name."""
    # Behind a name comes a blank, or in a list of arguments a quote and a comma.
    whole = compiled(
        rb"(?<![\w.$@-])" + name.replace(b".", rb"\.") + rb"(?:\.exe)?(?=[ \t]|[\"'],[ \t]*[\"'])"
    )
    at = text.find(name)
    until = inside = 0
    while at >= 0:
        inside = inside + 1 if at < until else 0
        if inside <= _MOST_INSIDE and (hit := whole.match(text, at)) is not None:
            is_list = text[hit.end()] in b"\"'"
            meant = rows if is_list else _that_may_tell(text, hit.end(), rows)
            if meant:
                end = _list_end(text, hit.end()) if is_list else _command_end(text, hit.end())
                line, until = text[at:end], max(until, end)
                for first, last in _values(line.translate(_LISTED) if is_list else line, meant):
                    yield at + first, at + _closing(line, last) if is_list else at + last, _RULE, None
        at = text.find(name, at + len(name))


def _values(line: bytes, rows: list[Row]) -> Iterator[tuple[int, int]]:
    for _, needs, option, part in rows:
        before = b"" if option.startswith((b"[ ", b"(?<=")) else rb"(?<=[\s\"'(])"
        for given in islice(compiled(before + option).finditer(line), _MOST_VALUES):
            if not _is_meant(line, needs, given):
                continue
            span = _part(line, given.end(), len(line), part)
            if span is not None:
                yield span


def _is_meant(line: bytes, needs: bytes, given: re.Match[bytes]) -> bool:
    """Whether the words stand before the option that must, and a name that it gives is a secret's."""
    if needs:
        words = rb"[ \t]-{0,2}(?:" + needs.replace(b" ", b"|") + rb")\b"
        if compiled(words).search(line, 0, given.end()) is None:
            return False
    return "name" not in given.re.groupindex or is_a_secrets(given["name"].lower())


def _that_may_tell(text: bytes, at: int, rows: list[Row]) -> list[Row]:
    """The rows whose option stands in the rest of the line at all; all of them where that is continued."""
    end = text.find(b"\n", at, at + LONGEST)
    end = min(len(text), at + LONGEST) if end < 0 else end
    if text[max(at, end - 2) : end].endswith((b"\\", b"\\\r")):
        return rows
    return [row for row in rows if compiled(row[2]).search(text, at, end) is not None]


def _list_end(text: bytes, at: int) -> int:
    """Where a list of arguments ends: at its bracket, or with the line."""
    listed = compiled(rb"(?:[^\n\]\"']|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')*")
    match = listed.match(text, at + 1, at + LONGEST)
    return match.end() if match else at


def _closing(line: bytes, at: int) -> int:
    """The quote behind which the argument of a list ends."""
    end = compiled(rb"[^\"'\n]*").match(line, at)
    return end.end() if end and line[end.end() : end.end() + 1] in (b"'", b'"') else at


def _command_end(text: bytes, at: int) -> int:
    """Where the simple command ends whose name ends at `at`: at an operator, a line, the quote around it."""
    limit = min(len(text), at + LONGEST)
    outer = _open_quote(text, at)
    if outer:
        closing = compiled(rb"(?:[^" + outer + rb"\\]|\\(?s:.))*").match(text, at, limit)
        limit = closing.end() if closing else limit
    plain = compiled(
        rb"(?:[^\n'\"\\;|&()`$]|\\(?s:\r?.)|'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|\$\([^()\n]*\)|\$(?!\())*"
    ).match(text, at, limit)
    end = plain.end() if plain else at
    if end < limit and text[end : end + 1] in (b"'", b'"'):  # a quote that is not closed: the line
        line = text.find(b"\n", end, limit)
        return line if line >= 0 else limit
    return end


def _open_quote(text: bytes, at: int) -> bytes:
    """The quote that is open at this place of its line: `bash -c '...` here; b"" when there is none."""
    start = max(text.rfind(b"\n", 0, at) + 1, at - _FAR_BACK)
    before = text[start:at]
    if b"'" not in before and b'"' not in before:
        return b""
    before = compiled(rb"'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|\\.").sub(b"", before)
    found = compiled(rb"[\"']").search(before)
    return found[0] if found and not compiled(rb"\w'\w?").search(before) else b""


def _part(text: bytes, at: int, end: int, part: str) -> tuple[int, int] | None:
    """Where the secret stands in the value that begins at `at`; None where it is a placeholder."""
    if part == _WHOLE and compiled(_VARIABLE).match(text, at, end):
        return None
    value = value_at(text, at, most=end)
    if value is None:
        return None
    first, last, is_expanded, is_quoted = value
    while text[first : first + 1] == b"\\" and text[first + 1 : first + 2] in (b'"', b"'"):
        first += 2
    while last - 2 > first and text[last - 2 : last] in (b'\\"', b"\\'"):
        last -= 2
    if part == _BEFORE_AT:
        host = text.rfind(b"@", first, last)
        last = last if host < 0 else host
    elif part != _WHOLE:
        split = text.find(part.encode(), first, last)
        if split < 0:
            return None
        user, first = (first, split), split + 1
        if first >= last and looks_random(text[slice(*user)], _LEAST_USER):
            first, last = user
    secret = text[first:last]
    if not secret or is_placeholder(secret, is_expanded=is_expanded) or is_metavariable(secret):
        return None
    is_word = part == _WHOLE and not is_quoted and secret.lower().rstrip(b".,:") in PROSE
    return None if is_word else (first, last)


def _piped(text: bytes) -> Iterator[Span]:
    """`echo ... | docker login --password-stdin`."""
    last = echoes = 0
    for hit in compiled(rb"\b(?:echo|printf)[ \t]+(?:-[neE]+[ \t]+)?").finditer(text):
        echoes = echoes + 1 if hit.start() < last else 0
        if echoes >= _MOST_ECHOES:
            continue
        line = text.find(b"\n", hit.end(), hit.end() + LONGEST)
        line = min(len(text), hit.end() + LONGEST) if line < 0 else line
        if text.find(b"|", hit.end(), line) < 0:
            continue
        end, last = _command_end(text, hit.end()), max(last, line)
        reader = compiled(rb"\|[^\n]*?(?:" + _READS_ONE + rb")").match(text, end, line)
        if reader is not None:
            yield from _told(text, hit.end(), end, b"chpasswd" in reader[0])


def _told(text: bytes, at: int, end: int, is_a_pair: bool) -> Iterator[Span]:
    """The words that `echo` or `printf` prints, its format left out."""
    while at < end:
        value = value_at(text, at, most=end)
        if value is None:
            at += 1
            continue
        is_format = compiled(rb"(?:%[a-z]|\\[a-z]|[:\s])+").fullmatch(text, value[0], value[1]) is not None
        span = _part(text, at, end, _AFTER_COLON if is_a_pair else _WHOLE)
        if span is not None and not is_format:
            yield *span, _PIPED, None
        at = value[1] + 1


def _here_strings(text: bytes) -> Iterator[Span]:
    """`docker login --password-stdin <<< ...`."""
    at = text.find(b"<<<")
    while at >= 0:
        start = text.rfind(b"\n", max(0, at - LONGEST), at) + 1
        reader = compiled(_READS_ONE).search(text, start, at)
        if reader is not None:
            value = at + 4 if text[at + 3 : at + 4] == b" " else at + 3
            is_a_pair = reader[0] == b"chpasswd"
            span = _part(text, value, min(len(text), at + LONGEST), _AFTER_COLON if is_a_pair else _WHOLE)
            if span is not None:
                yield *span, _PIPED, None
        at = text.find(b"<<<", at + 3)


def _answers(text: bytes) -> Iterator[Span]:
    """What a script of expect(1) sends where a password is asked for."""
    for hit in compiled(rb"expect\b[^\n]{0,200}?" + _ASKED + _SENT).finditer(text):
        whole = quoted_at(text, hit.end(), min(len(text), hit.end() + LONGEST))
        if whole is None:
            continue
        first, last = whole[0], whole[1]
        while text[last - 2 : last] in (b"\\r", b"\\n"):
            last -= 2
        if last > first and not is_placeholder(text[first:last]):
            yield first, last, _ANSWER, None
