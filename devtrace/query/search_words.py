"""What somebody types into a search, as terms to look for; and their form as FTS5 understands it.

A term is a word, a phrase (it was put between quotes), or a part: what has punctuation inside, as paths,
flags and `call(` have, is looked for as it is written. Whatever is typed, none of it is ever a command to
FTS5: each term goes there as a quoted string.

Lives here: `terms_of`, `Term`, the words that say nothing, and words that developers use for one another.
Not here: looking for them (search_lists.py), what becomes of it (search.py).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from devtrace.errors import UsageError

LONGEST = 4_000  # characters of what is typed
MOST_TERMS = 24
SHORTEST_PART = 3  # characters: the index of parts has them by three
WORD, PHRASE, PART = "word", "phrase", "part"
_MOST_THREES = 24  # of a part that are asked for; it is looked for in the text besides

_UNFIT = re.compile("[\0\ud800-\udfff]")  # what SQLite does not take
_ITEM = re.compile(r'"([^"]*)"|([^\s"]+)')
_LETTERS = re.compile(r"[^\W_]+")  # as the tokenizer unicode61 has words: letters and digits
_SHORT_FORM = re.compile(r"([^\W_]+)['\u2019][^\W_]{1,2}")  # don't, what's
_OPENING, _CLOSING, _SENTENCE = "([{<'`\u2018\u201c", ")]}>", ".,;:!?'`\u2019\u201d"
_PAIRS = dict(zip(_CLOSING, _OPENING[:4], strict=True))


class Term(NamedTuple):
    """`text` as it was typed, without quotes."""

    kind: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words in it."""
        return _LETTERS.findall(self.text)

    def as_word(self) -> str:
        """For the index of words: the words in this order; empty where it has none."""
        return _quoted(" ".join(self.words)) if self.words else ""

    def as_part(self) -> str:
        """For the index of parts: its threes; empty where it is too short for that."""
        text = self.text.lower()
        threes = list(dict.fromkeys(text[at : at + 3] for at in range(len(text) - 2)))
        step = -(-len(threes) // _MOST_THREES) if threes else 1
        return " AND ".join(map(_quoted, threes[::step]))

    def pattern(self) -> re.Pattern[str]:
        """It as it is written, in any case."""
        return re.compile(re.escape(self.text), re.IGNORECASE)


def terms_of(text: str) -> list[Term]:
    """The terms in what was typed, each once; words that say nothing only where there are no others.

    Raises UsageError ERR_SEARCH where nothing is left to look for.
    """
    if len(text) > LONGEST:
        raise _refused(
            f"{len(text):,} characters are too many to search for", f"at most {LONGEST:,}: choose some words"
        )
    found = [term for item in _ITEM.finditer(_UNFIT.sub(" ", text)) for term in _terms(item)]
    telling = [term for term in found if not _says_nothing(term)] or found
    unique = list({(term.kind, term.text.casefold()): term for term in reversed(telling)}.values())[::-1]
    fit = [term for term in unique if term.words or len(term.text) >= SHORTEST_PART]
    if not fit:
        raise _nothing_in(text)
    return fit[:MOST_TERMS]


def as_phrase(text: str) -> Term | None:
    """All that was typed as one phrase, with the words that say nothing; None: it is one word, or many."""
    words = _LETTERS.findall(_UNFIT.sub(" ", text))
    return Term(PHRASE, " ".join(words)) if 1 < len(words) <= MOST_TERMS else None


def kin_of(word: str) -> list[str]:
    """Words that a developer may have used in its place, or a tool that does it."""
    return _KIN.get(word.lower(), [])


def _terms(item: re.Match[str]) -> list[Term]:
    phrase, bare = item[1], item[2]
    if phrase is not None:
        return _phrase(phrase.strip())
    bare = _bare(bare)
    if short := _SHORT_FORM.fullmatch(bare):
        bare = short[1]
    if _LETTERS.fullmatch(bare):
        return [Term(WORD, bare)]
    return [Term(PART, bare)] if bare else []


def _phrase(text: str) -> list[Term]:
    if not text:
        return []
    words = text.split()
    if all(_LETTERS.fullmatch(_bare(word)) for word in words):
        return [Term(PHRASE if len(words) > 1 else WORD, text if len(words) > 1 else _bare(text))]
    return [Term(PART, text)]


def _bare(item: str) -> str:
    """Without what a sentence puts around a word; `call(` and `list[int]` keep what belongs to them."""
    item = item.lstrip(_OPENING)
    while item:
        kept = item.rstrip(_SENTENCE)
        if kept and kept[-1] in _PAIRS and kept.count(_PAIRS[kept[-1]]) < kept.count(kept[-1]):
            kept = kept[:-1]
        if kept == item:
            break
        item = kept
    return item


def _says_nothing(term: Term) -> bool:
    return term.kind == WORD and term.text.lower() in _STOP_WORDS


def _quoted(text: str) -> str:
    escaped = text.replace('"', '""')
    return f'"{escaped}"'


def _nothing_in(text: str) -> UsageError:
    if not text.strip():
        return _refused("there is nothing to search for", 'give a word, a "phrase", or a part of a path')
    return _refused(
        "that is too short to search for",
        f"a part that is no word, such as a path or a flag, needs {SHORTEST_PART} characters",
    )


def _refused(message: str, hint: str) -> UsageError:
    return UsageError(message, code="ERR_SEARCH", hint=hint)


_STOP = """
    a about after again all also am an and any anything are as at be because been before being but by can
    could did didn do does doesn doing don done during each ever for from get got had has have he her here him
    his how i if in into is isn it its just let me might my no not of off on one or our out over own please s
    she should so some somebody someone something such t than that the their them then there these they thing
    things this those to too under until up us use used using very was wasn we were what when where which
    while who whom whose why will with without would wouldn you your
"""
_STOP_WORDS = frozenset(_STOP.split())
# A line a family: each word may stand for each other one. Verbs of people beside the tools that do it.
_FAMILIES = """
    test tests testing tested pytest unittest jest vitest tox spec specs
    fail failed failing fails failure error errors exception traceback
    crash crashed segfault panic fatal aborted killed crashloop
    broken break broke regression
    flaky flake unreliable intermittent unstable sometimes
    delete deleted remove removed erase rm drop dropped unlink rmdir
    undo undone discard throw revert reverted reset restore rollback downgrade abort
    create created make new init mkdir touch
    rename renamed move moved mv
    copy copied duplicate cp rsync scp
    install installed pip npm pnpm yarn apt brew
    dependency dependencies package packages requirements library libraries module lib
    upgrade upgraded update updated bump
    repository repo clone remote
    download downloaded fetch curl wget pull clone
    upload push pushed publish published
    refused rejected denied forbidden unauthorized refuse reject deny
    branch branches checkout switch
    conflict conflicts merge merged rebase
    unfinished wip stash shelve draft
    hooks hook verify
    history log blame
    tag version release released
    deploy deployed deployment rollout kubectl helm
    kubernetes k8s cluster pod pods kubectl
    container containers docker podman image images compose
    folder folders directory dir directories mkdir
    database db sql sqlite postgres postgresql psql mysql
    migration migrations migrate schema alembic
    query queries select sql explain
    table tables column columns
    backup backups dump pg_dump archive tar snapshot
    compress compressed zip gzip tar
    login logged signin authentication authenticate auth oauth session
    secret secrets password token credential credentials key
    certificate certificates cert tls ssl openssl
    permission permissions denied forbidden chmod chown sudo
    network connection connect connected unreachable dns ping
    port ports listen listens listening bind address lsof netstat
    server serve serving http uvicorn gunicorn nginx
    start started starting run running launch launched up
    stop stopped kill killed terminate terminated pkill quit
    process processes pid ps
    slow slower performance latency profile benchmark
    fast faster speed cache cached
    hang hangs hung stuck timeout deadlock blocked
    memory ram oom heap leak
    disk space quota df du storage
    size large big huge
    docs documentation document readme markdown
    config configuration configure configured settings setting yaml toml
    variable variables environment env export
    virtual virtualenv venv conda
    lint linter linting ruff eslint flake8 pylint
    format formatted formatting formatter black prettier
    checker typecheck types mypy pyright tsc
    typescript tsc tsx ts
    javascript js node npm npx
    python py pip
    rust cargo rustc
    compile compiled compiler build built building gcc cargo
    search searched searching find found grep rg
    replace replaced substitute sed
    count number wc
    comment comments todo fixme
    schedule scheduled cron crontab
    logs journalctl tail stderr
    duplicate twice already exists
    duration seconds minutes expire expires timeout
    open opened edit editor vim nano
    remember note noted reminder
"""
_KIN: dict[str, list[str]] = {}
for _family in map(str.split, _FAMILIES.strip().splitlines()):
    for _word in _family:
        _KIN.setdefault(_word, []).extend(other for other in _family if other != _word)
