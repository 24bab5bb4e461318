"""The search index is filled behind the record, by anybody, and holds nothing that was pruned."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from devtrace.ids import new_session_id
from devtrace.query.verify import verify
from devtrace.services import refresh
from devtrace.services.prune import prune_record
from devtrace.store import retention, search_index, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.migrations import migrations
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from devtrace.store.search_index import PARTS, WORDS, State, catch_up, state_of
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE, environment
from tests.store.crowd import tell
from tests.store.frames import START, begin, count, frame, is_whole

SEED = random.SystemRandom().randrange(1 << 32)
AUTHOR = Author("human", "cli", 0)


def session_of(db: sqlite3.Connection, *frames, ends: bool = True) -> str:
    session = begin(db, new_session_id())
    append(db, [one | {"session": session} for one in frames])
    if ends:
        sessions.end(db, session, ended_us=START + 9_000, status="ended", exit_code=0)
    return session


def failed(command: str, printed: str) -> dict:
    return frame(command, status="failed", exit_code=1, blobs={"output": printed.encode()})


def matches(db: sqlite3.Connection, expression: str, table: str = WORDS) -> list[int]:
    rows = db.execute(f"SELECT rowid FROM {table} WHERE {table} MATCH ? ORDER BY rowid", (expression,))
    return [seq for (seq,) in rows]


def assert_sound(db: sqlite3.Connection) -> None:
    """The indexes say what the texts say, and the texts what the events say."""
    for table in (WORDS, PARTS):
        db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    state = state_of(db)
    assert state is not None
    between = "WHERE events.seq > ? AND events.seq <= ? ORDER BY events.seq"
    wanted = [
        (seq, *texts)
        for seq, _, texts in search_index.read(db, between, (state.low, state.high))
        if any(texts)
    ]
    names = ", ".join(search_index.COLUMNS)
    assert db.execute(f"SELECT seq, {names} FROM search_docs ORDER BY seq").fetchall() == wanted


def stops_after(steps: int):
    """A `goes_on` that says so often that there is time."""
    answers = iter([True] * steps)
    return lambda: next(answers, False)


# --- filling --------------------------------------------------------------------------------------------


def test_writing_an_event_writes_nothing_into_the_index(db):
    before = db.execute("SELECT * FROM search_state").fetchall()
    session_of(db, frame("make"))

    assert (count(db, "search_docs"), db.execute("SELECT * FROM search_state").fetchall()) == (0, before)


def test_what_was_written_is_found_by_its_words_in_any_form_and_by_its_parts(db):
    session_of(db, frame("pytest tests/test_cart.py --runs 3"), failed("make", "missing separators\n"))

    assert catch_up(db)

    assert matches(db, "test") == matches(db, "run") == matches(db, '{title} : "cart py"') == [1]
    assert matches(db, "{output} : separator") == [2]
    assert matches(db, '"t_c" AND "_ca"', PARTS) == [1]
    assert_sound(db)


def test_it_goes_on_where_it_was(db):
    session = session_of(db, *(frame(f"first {number}") for number in range(3)), ends=False)
    catch_up(db)
    append(db, [frame("second", session)])
    catch_up(db)
    catch_up(db)

    assert matches(db, "second") == [4]
    assert state_of(db) == State(0, 4)
    assert_sound(db)


def test_one_transaction_takes_few_events_however_many_there_are(db, monkeypatch):
    monkeypatch.setattr(search_index, "_MOST_ROWS", 7)
    monkeypatch.setattr(search_index, "_MOST_CHARACTERS", 40)
    session_of(db, *(frame("echo") for _ in range(20)), frame("x" * 39), frame("y" * 39))

    heights = [0]
    while not catch_up(db, stops_after(2)):
        heights.append(state_of(db).high)

    assert heights == [0, 7, 14, 21]
    assert state_of(db).high == 22
    assert_sound(db)


@pytest.fixture
def older(tmp_path: Path, db: sqlite3.Connection) -> Workspace:
    """A store of before there was an index, with 1,000 events."""
    session_of(db, *(frame(f"echo {number}") for number in range(1_000)))
    made = Workspace(tmp_path / "old" / ".devtrace")
    made.root.mkdir()
    create(made)
    with closing(sqlite3.connect(made.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(connection), stop_before="m0006_search")
        connection.execute("PRAGMA user_version = 5")
        connection.execute("ATTACH ? AS new", (str(Workspace(tmp_path / ".devtrace").database),))
        for table in ("sessions", "events", "seals"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
    return made


def test_of_an_older_store_the_newest_events_are_indexed_first(older):
    with closing(open_store(older)) as db:
        assert not catch_up(db, stops_after(2))
        half = state_of(db)
        session_of(db, frame("echo now"))
        assert not catch_up(db, stops_after(2))

        assert half == State(600, 1_000)
        assert state_of(db) == State(600, 1_001)
        assert catch_up(db)
        assert state_of(db) == State(0, 1_001)
        assert matches(db, '"echo 0"') == [1]
        assert_sound(db)
        assert verify(db).findings == []


FILL = """
import sys
from pathlib import Path
from devtrace.store import search_index
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
search_index._MOST_ROWS = 20
db = open_store(Workspace(Path(sys.argv[1])))
def told():
    print(search_index.state_of(db).low, flush=True)
    return True
search_index.catch_up(db, told)
"""


@pytest.mark.unmeasured
def test_killed_at_any_moment_it_goes_on_where_it_was(older):
    tell(f"seed {SEED}")
    chance, steps = random.Random(SEED), 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", FILL, str(older.dir)], env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(2, 20)):
                steps += bool(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE)
    with closing(open_store(older)) as db:
        low = state_of(db).low
        assert low < 1_000
        assert steps > 0
        assert_sound(db)
        assert catch_up(db)
        assert_sound(db)
        assert count(db, "search_docs") == 1_000


def test_many_at_once_index_every_event_once(older, monkeypatch):
    monkeypatch.setattr(search_index, "_MOST_ROWS", 10)
    open_store(older).close()
    busy: list[bool] = []

    def work() -> None:
        with closing(open_store(older)) as db:
            while True:
                try:
                    if catch_up(db):
                        return
                except sqlite3.OperationalError as error:  # another one writes: there is a later time
                    busy.append(error.sqlite_errorname.startswith("SQLITE_BUSY"))

    crowd = [threading.Thread(target=work) for _ in range(3)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(DEADLINE)

    assert all(busy)
    with closing(open_store(older)) as db:
        assert count(db, "search_docs") == 1_000
        assert_sound(db)


def test_between_two_steps_nothing_is_locked(older, monkeypatch):
    monkeypatch.setattr(search_index, "_MOST_ROWS", 300)
    with closing(open_store(older)) as db, closing(open_store(older, patience_ms=0)) as other:
        session = begin(other, new_session_id())

        def goes_on() -> bool:
            if count(other) < 1_030:
                append(other, [frame("meanwhile", session)])
            return True

        assert catch_up(db, goes_on)
        assert_sound(db)
        assert len(matches(db, "meanwhile")) == count(db) - 1_000


def test_times_of_events_are_known_by_spans(db):
    early = [frame(f"early {number}", started_us=START - number) for number in range(3)]
    session_of(db, *early, *(frame("later", started_us=START + 5) for _ in range(search_index.SPAN)))
    catch_up(db)

    rows = db.execute("SELECT * FROM search_times ORDER BY span").fetchall()
    assert rows == [(0, START - 2, START + 5), (1, START + 5, START + 5)]


def test_where_sqlite_cannot_search_the_record_goes_on(db, monkeypatch, workspace):
    monkeypatch.setattr(search_index, "is_possible", lambda _: False)
    session_of(db, frame("make"))

    assert catch_up(db)
    assert state_of(db) is None
    assert prune(db, workspace) == 1


# --- taking out -----------------------------------------------------------------------------------------


def prune(db: sqlite3.Connection, workspace: Workspace, what: str = EVENTS, goes_on=lambda: True) -> int:
    done = retention.prune(db, workspace, Order(what, WHENEVER), AUTHOR, goes_on)
    return sum(share.events or share.outputs for share in done)


def held(workspace: Workspace, *words: bytes) -> list[bytes]:
    """Which of the words stand anywhere in the files of the store."""
    files = workspace.dir.glob("devtrace.db*")
    data = b"".join(file.read_bytes().lower() for file in files)
    return [word for word in words if word in data]


def test_what_is_pruned_is_not_found_and_stands_nowhere_in_the_files_any_more(secure, workspace):
    db = secure
    session_of(db, *(frame(f"echo flamingo{number}") for number in range(50)), frame("grep xylophone"))
    kept = session_of(db, frame("echo violin"), failed("make", "xylobassoon broke"), ends=False)
    index_it(db)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert held(workspace, b"flamingo", b"xylophon", b"violin") == [b"flamingo", b"xylophon", b"violin"]

    prune_record(db, workspace, [(Order(EVENTS, WHENEVER), lambda: True)], AUTHOR)

    # A term is stored without the start that it shares with the one before it.
    assert held(workspace, b"flamingo", b"lamingo", b"xylophon", b"phon", b"violin") == [b"violin"]
    assert matches(db, "flamingo1") == matches(db, '"lam" AND "ami"', PARTS) == []
    terms = {term for (term,) in vocabulary(db)}
    assert not [term for term in terms if term.startswith(("flam", "xylop"))]
    assert "xylobassoon" in terms
    assert count(db, "search_docs") == 2
    assert len(matches(db, "violin")) == 1
    assert db.execute("SELECT count(*) FROM events WHERE session = ?", (kept,)).fetchone() == (2,)
    assert_sound(db)
    assert is_whole(db)


@pytest.fixture
def secure(db: sqlite3.Connection) -> sqlite3.Connection:
    """What SQLite leaves of events in their pages is another matter: here it leaves nothing."""
    db.execute("PRAGMA secure_delete = ON").fetchall()
    return db


def index_it(db: sqlite3.Connection) -> None:
    """As somebody does who does not care what is left in pages."""
    db.execute("PRAGMA secure_delete = OFF").fetchall()
    catch_up(db)
    db.execute("PRAGMA secure_delete = ON").fetchall()


def vocabulary(db: sqlite3.Connection) -> list[tuple[str]]:
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.terms USING fts5vocab(main, {WORDS}, row)")
    return db.execute("SELECT term FROM temp.terms").fetchall()


def test_a_pruned_output_is_not_found_and_its_command_still_is(secure, workspace):
    db = secure
    session_of(db, failed("make world", "flamingos everywhere"), frame("ls"))
    index_it(db)

    prune_record(db, workspace, [(Order(OUTPUTS, WHENEVER), lambda: True)], AUTHOR)

    assert (matches(db, "flamingo"), matches(db, "world")) == ([], [1])
    assert held(workspace, b"flamingo", b"lamingo", b"everywher") == []
    assert_sound(db)


def test_an_answer_of_a_tool_is_in_its_event_and_stays_when_outputs_are_pruned(db, workspace):
    call = {"tool": "Bash", "command": "make", "result": "flamingos"}
    told = frame("x", kind="tool_call", status="failed", data=call, blobs={"raw": b"something"})
    session_of(db, told)
    catch_up(db)

    assert prune(db, workspace, OUTPUTS) == 1
    assert matches(db, "{output} : flamingo") == [1]
    assert_sound(db)


def test_what_a_killed_prune_left_in_the_segments_goes_with_the_next_filling(secure, workspace):
    db = secure
    session_of(db, frame("echo flamingo"), frame("echo other"))
    index_it(db)
    assert prune(db, workspace, goes_on=stops_after(2)) == 2

    assert matches(db, "flamingo") == []
    state = state_of(db)
    assert (state.n_taken, state.n_scrubbed) == (1, 0)
    assert not catch_up(db, lambda: False)

    assert catch_up(db)
    assert state_of(db).n_scrubbed == 1
    assert held(workspace, b"flamingo", b"lamingo") == []


def test_what_is_taken_out_while_segments_are_merged_is_not_taken_for_merged(db, workspace):
    session_of(db, frame("echo one"))
    session_of(db, frame("echo two"))
    catch_up(db)
    older, newer = (session for (session,) in db.execute("SELECT id FROM sessions ORDER BY started_us, id"))
    order = Order(EVENTS, WHENEVER, sessions=[older])
    assert sum(one.events for one in retention.prune(db, workspace, order, AUTHOR, stops_after(2))) == 1

    def prune_another() -> bool:
        if state_of(db).n_taken == 1:
            other = Order(EVENTS, WHENEVER, sessions=[newer])
            with closing(open_store(workspace)) as second:
                list(retention.prune(second, workspace, other, AUTHOR, stops_after(2)))
        return True

    assert search_index.scrub(db, prune_another)
    state = state_of(db)
    assert (state.n_taken, state.n_scrubbed) == (2, 1)


@pytest.mark.parametrize("what", [EVENTS, OUTPUTS])
def test_what_is_pruned_between_reading_and_indexing_is_not_indexed(db, workspace, what):
    session_of(db, failed("make world", "flamingos"), frame("ls"))

    def prune_meanwhile() -> bool:  # it is asked behind the reading, before the transaction
        with closing(open_store(workspace)) as other:
            prune(other, workspace, what)
        return True

    catch_up(db, prune_meanwhile)
    catch_up(db)

    assert matches(db, "flamingo") == []
    assert matches(db, "world") == ([] if what == EVENTS else [1])
    assert_sound(db)


@pytest.mark.parametrize("number", range(8))
def test_random_writing_indexing_and_pruning_stays_sound(db, workspace, number, monkeypatch):
    tell(f"seed {SEED + number}")
    chance = random.Random(SEED + number)
    monkeypatch.setattr(search_index, "_MOST_ROWS", 5)
    words = ["alpha", "beta", "gamma", "delta"]
    for _ in range(12):
        doing = chance.randrange(4)
        if doing < 2:
            made = [failed(chance.choice(words), chance.choice(words)) for _ in range(chance.randrange(1, 9))]
            session_of(db, *made, ends=chance.random() < 0.7)
        elif doing == 2:
            catch_up(db, stops_after(chance.randrange(1, 9)))
        else:
            order = Order(chance.choice((EVENTS, OUTPUTS)), WHENEVER, batch=3)
            list(retention.prune(db, workspace, order, AUTHOR, stops_after(chance.randrange(1, 9))))
    assert catch_up(db)

    assert_sound(db)
    for word in words:
        select = "SELECT seq FROM events WHERE title = ? OR seq IN"
        select += " (SELECT seq FROM search_docs WHERE output = ?) ORDER BY seq"
        wanted = [seq for (seq,) in db.execute(select, (f"$ {word}", word))]
        assert matches(db, word) == wanted
    assert is_whole(db)


# --- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [WORDS, PARTS])
def test_a_damaged_index_is_made_anew_from_the_record(db, workspace, table):
    session_of(db, *(frame(f"echo {number}") for number in range(100)))
    catch_up(db)
    db.execute(f"DELETE FROM {table}_data WHERE id > 10")
    session_of(db, frame("echo new"))
    with pytest.raises(sqlite3.DatabaseError) as raised:
        matches(db, "ech", table) or matches(db, "echo", table)
    assert search_index.is_damage(raised.value)

    search_index.begin_anew(db)
    assert catch_up(db)

    assert len(matches(db, "echo")) == 101
    assert_sound(db)
    assert verify(db).findings == []


@pytest.mark.parametrize("table", [WORDS, PARTS])
def test_an_index_that_cannot_even_be_opened_is_mended_while_it_is_filled(db, workspace, table):
    session_of(db, *(frame(f"echo {number}") for number in range(100)))
    catch_up(db)
    db.execute(f"UPDATE {table}_data SET block = x'ffffffffffffffffffff' WHERE id = 10")
    session_of(db, frame("echo new"))

    with closing(open_store(workspace)) as fresh:
        refresh.index(fresh, workspace, 30)

        assert len(matches(fresh, "echo")) == 101
        assert_sound(fresh)
