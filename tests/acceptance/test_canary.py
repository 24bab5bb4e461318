"""Secrets planted in every channel of whole sessions are nowhere in what is kept, nor in what is exported.

What is looked through: every file below `.devtrace/` as it lies on the disk (database, WAL, spool, logs),
what is compressed there once it is unpacked (outputs, the objects of checkpoints), and every answer of every
reading command. A secret is looked for as it is and in base64.

The names of files stand in checkpoints as they are, and are not planted: the README says so.
"""

from __future__ import annotations

import base64
import random
import shutil
import sqlite3
import string
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.traced import DEVTRACE, Home, Shell

_LETTERS = string.ascii_letters + string.digits


class Canaries:
    """Secrets that nobody else has, by where they are planted."""

    def __init__(self) -> None:
        self.seed = random.SystemRandom().randrange(1 << 32)
        self._chance = random.Random(self.seed)
        self.planted: dict[str, str] = {}

    def word(self, where: str, length: int = 20) -> str:
        """A password of letters and digits."""
        return self._plant(where, "q7" + "".join(self._chance.choices(_LETTERS, k=length)) + "7q")

    def github(self, where: str) -> str:
        """A token whose form tells what it is."""
        return self._plant(where, "ghp_" + "".join(self._chance.choices(_LETTERS, k=36)))

    def key_line(self, where: str) -> str:
        """A line of a private key."""
        return self._plant(where, "".join(self._chance.choices(_LETTERS, k=64)))

    def _plant(self, where: str, secret: str) -> str:
        self.planted[where] = secret
        return secret

    def found_in(self, data: bytes) -> set[str]:
        """The places whose secret stands in these bytes, as it is or in base64."""
        return {
            where
            for where, secret in self.planted.items()
            if secret.encode() in data or base64.b64encode(secret.encode())[:-4] in data
        }


@pytest.fixture
def canaries() -> Canaries:
    made = Canaries()
    print(f"seed {made.seed}")  # noqa: T201 - pytest shows it when the test fails
    return made


def kept(store: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of everything below the store, and of what is packed in it."""
    for path in sorted(store.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(store)), path.read_bytes()
    with closing(sqlite3.connect(f"file:{store}/devtrace.db?mode=ro", uri=True)) as db:
        for digest, codec, data in db.execute("SELECT sha256, codec, data FROM blobs"):
            yield f"blob {digest}", zlib.decompress(data) if codec == "zlib" else data
    if (store / "objects.git").exists():
        yield "objects", own_objects(store / "objects.git")


def own_objects(repository: Path) -> bytes:
    """Every object of checkpoints, unpacked; those of the user's repository are not ours."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "copy.git")
        shutil.copytree(repository, copied, ignore=shutil.ignore_patterns("alternates"))
        listing = ["git", "--git-dir", copied, "cat-file", "--batch-all-objects", "--batch", "--buffer"]
        return subprocess.run(listing, check=True, capture_output=True).stdout


def leaks(canaries: Canaries, store: Path) -> set[tuple[str, str]]:
    """(where it was planted, where it was found) of every secret that was kept."""
    return {(where, name) for name, data in kept(store) for where in canaries.found_in(data)}


def answers(home: Home) -> Iterator[tuple[str, bytes]]:
    """What every reading command says of the record; `blame` and `why` show the file as it lies there now."""
    store = home.here / ".devtrace" / "devtrace.db"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        sessions = [row[0] for row in db.execute("SELECT id FROM sessions")]
        ids = db.execute("SELECT session, id FROM events WHERE kind = 'run_command'").fetchall()
    yield from _said(home, ("sessions",), ("sessions", "--json"), ("stats",), ("stats", "--json"))
    yield from _said(home, ("log", "--limit", "1000"), ("log", "--json", "--limit", "1000"))
    yield from _said(home, ("doctor", "--json"), ("verify", "--json"), ("config", "list", "--json"))
    for session in sessions:
        yield from _said(home, ("show", session), ("show", session, "--json"), ("show", session, "--diff"))
        yield from _said(home, ("diff", session), ("diff", session, "--json"))
        yield from _said(home, *(("export", session, "--format", form) for form in ("jsonl", "asciicast")))
    for session, event in ids:
        yield from _said(home, ("show", event, "--session", session, "--output"))


def _said(home: Home, *commands: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for words in commands:
        done = subprocess.run(
            [*DEVTRACE, *words], env=home.env, cwd=home.here, capture_output=True, check=False
        )
        assert done.returncode in (0, 1, 2), (words, done.stderr)
        yield " ".join(words), done.stdout + done.stderr


def shown(canaries: Canaries, home: Home) -> set[tuple[str, str]]:
    """(where it was planted, the command that showed it)."""
    return {(where, name) for name, data in answers(home) for where in canaries.found_in(data)}


def plant_in_files(home: Home, canaries: Canaries) -> None:
    """What lies on the machine before anything is recorded."""
    home.writes(".netrc", f"machine a.example login ana password {canaries.word('.netrc')}\n")
    home.writes(".aws/credentials", f"[default]\naws_secret_access_key = {canaries.word('.aws', 36)}\n")
    home.writes(".npmrc", f"//r.example/:_authToken={canaries.word('.npmrc')}\n")
    home.writes(".pypirc", f"[pypi]\npassword = {canaries.word('.pypirc')}\n")
    home.writes(".git-credentials", f"https://ana:{canaries.word('.git-credentials')}@git.example\n")
    basic = base64.b64encode(f"ana:{canaries.word('docker')}".encode()).decode()
    home.writes(".docker/config.json", '{"auths": {"r.example": {"auth": "%s"}}}' % basic)  # noqa: UP031 - JSON
    Path(home.here, ".env").write_text(f"SERVICE_TOKEN={canaries.word('.env')}\n")
    home.env |= {
        "DEPLOY_TOKEN": canaries.word("environment"),
        "DB_URL": f"db://u:{canaries.word('URL in it')}@h/x",
    }


def commands(canaries: Canaries, home: Home) -> list[str]:
    """Lines that bash and zsh understand, each with a secret in a channel of its own."""
    known = canaries.planted
    key = canaries.key_line("private key")
    token = canaries.github("in two pieces")
    return [
        f"echo {canaries.github('command line')} >/dev/null",
        f"PGPASSWORD={canaries.word('assignment')} true",
        f"true --password={canaries.word('option')} --token {canaries.word('option and blank')}",
        f"true https://ana:{canaries.word('url')}@git.example/x.git",
        f"bash -c 'true --api-key={canaries.word('nested command')}'",
        f"printf '%s' '{token[:15]}'; sleep 0.1; printf '%s\\n' '{token[15:]}'",
        f"printf '\\033[31mAPI_TOKEN\\033[0m=\\033[1m{canaries.word('colours')}\\033[0m\\n'",
        "echo $DEPLOY_TOKEN; echo $DB_URL; printf %s $DEPLOY_TOKEN | base64",
        "cd ~ && cat .netrc .aws/credentials .npmrc .pypirc .git-credentials .docker/config.json; cd -",
        f"echo just {known['.netrc']} and {known['.pypirc']}, {known['.git-credentials']}, {known['docker']}",
        f"export LATER_SECRET={canaries.word('exported in the session')}",
        "echo $LATER_SECRET; env | sort",
        f"printf -- '-----BEGIN RSA PRIVATE KEY-----\\n{key}\\n-----END RSA PRIVATE KEY-----\\n' >server.txt",
        "cat server.txt",
        f"printf 'timeout = 3\\nAPI_KEY = \"{canaries.word('in a file')}\"\\n' >settings.py",
        f"git commit -q --allow-empty -m 'use TOKEN={canaries.word('commit message')}'",
        f"echo NEW_PASSWORD={canaries.word('written to .env')} >>.env",
        "sh -c 'tail -n 1 .env | cut -d= -f2'",
        f"mkdir -p PASSWORD={canaries.word('directory')} && cd PASSWORD=*/ && true; cd ..",
        f"devtrace note 'the TOKEN={canaries.word('note')} is new'",
        f"devtrace snapshot --label 'with password={canaries.word('label of a snapshot')}'",
        f"devtrace run --label 'my_secret={canaries.word('label of a run')}' -- true",
        f"devtrace run -- echo --token={canaries.word('devtrace run')}",
        f"echo {canaries.github('said on stderr')} >&2",
        f"printf '\\033]0;TOKEN={canaries.word('title of the window')}\\007'",
    ]


@pytest.mark.shells("bash", "zsh")
def test_no_planted_secret_is_kept_or_shown(shell: Shell, canaries: Canaries) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    Path(".gitignore").write_text(".env\n")
    plant_in_files(shell, canaries)
    shell.starts("--label", f"PASSWORD={canaries.word('label of the session')}")
    shell.until(lambda _: True, "the store is there")
    for line in commands(canaries, shell):
        shell.types(line)
        assert leaks(canaries, shell.here / ".devtrace") == set(), line
    shell.types(f"echo {canaries.github('last command')}")
    shell.ends()

    assert len(canaries.planted) > 30
    assert leaks(canaries, shell.here / ".devtrace") == set()
    assert shown(canaries, shell) == set()


@pytest.mark.shells("bash")
def test_no_planted_secret_is_kept_while_the_store_cannot_be_written(
    shell: Shell, canaries: Canaries
) -> None:
    """What waits in the spool is redacted too."""
    plant_in_files(shell, canaries)
    shell.types("true").until(lambda session: session.commands())
    store = shell.here / ".devtrace"
    with closing(sqlite3.connect(store / "devtrace.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for line in commands(canaries, shell)[:9]:
            shell.types(line)
        shell.on_screen.until(lambda: any((store / "spool").glob("*.spool")), "something waits in the spool")
        assert leaks(canaries, store) == set()
        other.execute("ROLLBACK")
    shell.ends()

    assert leaks(canaries, store) == set()
    assert shown(canaries, shell) == set()


def test_the_search_finds_what_is_there(
    tmp_path: Path, canaries: Canaries, needs: Callable[..., None]
) -> None:
    """A test that could not fail would prove nothing."""
    needs("bash")
    store = tmp_path / ".devtrace"
    subprocess.run([*DEVTRACE, "init"], cwd=tmp_path, check=True, capture_output=True)
    packed, plain = canaries.word("packed"), canaries.word("plain")
    with closing(sqlite3.connect(store / "devtrace.db", isolation_level=None)) as db:
        data = zlib.compress(f"a {packed} b".encode() * 9)
        columns = {row[1] for row in db.execute("PRAGMA table_info(blobs)")}
        refs = (", refs", ", 1") if "refs" in columns else ("", "")
        db.execute(
            f"INSERT INTO blobs (sha256, size, codec, data{refs[0]}) VALUES ('x', 1, 'zlib', ?{refs[1]})",
            (data,),
        )
    (store / "log").mkdir(exist_ok=True)
    (store / "log" / "x.log").write_bytes(base64.b64encode(plain.encode()))

    assert leaks(canaries, store) == {("packed", "blob x"), ("plain", "log/x.log")}
