"""The schema, as named steps that sqlite-utils applies once each, in order.

Imported only when a database is not at `VERSION` yet: sqlite-utils takes longer to import than any command
may take. A new step is one new function here, and one more in `VERSION` (store/__init__.py).
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("devtrace")


@migrations()
def m0001_sessions_and_events(db: Database) -> None:
    """Sessions, their events, what runs, seals, links, blobs and the spool's offsets."""
    for statement in _FIRST:
        db.execute(statement)


@migrations()
def m0002_file_changes(db: Database) -> None:
    """The changes of `edit_files` events, to be found by path and by content."""
    for statement in _FILE_CHANGES:
        db.execute(statement)


@migrations()
def m0003_pruned(db: Database) -> None:
    """What was pruned, who names a blob, and which events still keep their outputs."""
    for statement in _PRUNED:
        db.execute(statement)


@migrations()
def m0004_traces(db: Database) -> None:
    """What Python programs did: their records in chunks, and what is to be found without reading those."""
    for statement in _TRACES:
        db.execute(statement)


@migrations()
def m0005_io_chunks(db: Database) -> None:
    """What Python programs wrote and read through their standard streams, and which line did."""
    for statement in _IO:
        db.execute(statement)


@migrations()
def m0006_search(db: Database) -> None:
    """The texts of events, to be searched. They are indexed behind this: what is there may be much."""
    for statement in _SEARCH:
        db.execute(statement)


_FIRST = (
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,          -- 32 hex digits, UUIDv7
        kind TEXT NOT NULL,           -- shell, run, recorder, agent, mcp, import
        parent_session TEXT,
        parent_event TEXT,
        agent TEXT NOT NULL DEFAULT '',
        actor TEXT NOT NULL DEFAULT 'human',
        title TEXT NOT NULL DEFAULT '',
        repo_root TEXT,
        cwd TEXT,
        shell TEXT NOT NULL DEFAULT '',
        host TEXT NOT NULL DEFAULT '',
        branch TEXT,
        head_start TEXT,
        head_end TEXT,
        started_us INTEGER NOT NULL,
        ended_us INTEGER,
        status TEXT NOT NULL CHECK (status IN ('active', 'ended', 'interrupted')),
        exit_code INTEGER,
        n_events INTEGER NOT NULL DEFAULT 0,
        n_failed INTEGER NOT NULL DEFAULT 0,
        meta TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meta))
    ) STRICT
    """,
    "CREATE INDEX sessions_started ON sessions (started_us)",
    "CREATE INDEX sessions_active ON sessions (id) WHERE status = 'active'",
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of the chain, and the cursor of those who follow
        session TEXT NOT NULL,
        id TEXT NOT NULL,             -- 16 hex digits, unique in its session
        parent TEXT,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        started_us INTEGER NOT NULL,
        ended_us INTEGER,
        recorded_us INTEGER NOT NULL,
        status TEXT NOT NULL,
        title TEXT NOT NULL,
        cwd TEXT,
        exit_code INTEGER,
        source TEXT NOT NULL,
        exit_source TEXT,
        trusted INTEGER NOT NULL,
        data TEXT NOT NULL CHECK (json_valid(data)),
        hash TEXT NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX events_id ON events (id, session)",
    "CREATE INDEX events_session ON events (session, seq)",
    "CREATE INDEX events_failed ON events (session, seq) WHERE status = 'failed'",
    "CREATE INDEX events_kind ON events (kind, started_us)",
    """
    CREATE TABLE running (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        id TEXT NOT NULL,
        parent TEXT,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        started_us INTEGER NOT NULL,
        recorded_us INTEGER NOT NULL,
        title TEXT NOT NULL,
        cwd TEXT,
        source TEXT NOT NULL,
        trusted INTEGER NOT NULL,
        data TEXT NOT NULL CHECK (json_valid(data)),
        UNIQUE (id, session)
    ) STRICT
    """,
    "CREATE INDEX running_session ON running (session)",
    """
    CREATE TABLE seals (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        seq INTEGER,                  -- the last event under this seal; NULL: the session had none
        hash TEXT NOT NULL,
        sealed_us INTEGER NOT NULL,
        late INTEGER NOT NULL         -- 1: something arrived after the session had been sealed
    ) STRICT
    """,
    "CREATE INDEX seals_session ON seals (session)",
    """
    CREATE TABLE links (
        session TEXT NOT NULL,
        event TEXT NOT NULL,
        other_session TEXT NOT NULL,
        other_event TEXT NOT NULL,
        relation TEXT NOT NULL,
        confidence TEXT NOT NULL,
        made_us INTEGER NOT NULL,
        UNIQUE (session, event, other_session, other_event, relation)
    ) STRICT
    """,
    """
    CREATE TABLE blobs (
        id INTEGER PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,  -- of the redacted bytes, before compression
        size INTEGER NOT NULL,
        codec TEXT NOT NULL CHECK (codec IN ('raw', 'zlib')),
        data BLOB NOT NULL
    ) STRICT
    """,
    "CREATE TABLE spool_offsets (file TEXT PRIMARY KEY, offset INTEGER NOT NULL) STRICT",
)

_FILE_CHANGES = (
    """
    CREATE TABLE file_changes (
        n INTEGER PRIMARY KEY,
        session TEXT NOT NULL,
        event TEXT NOT NULL,
        chain TEXT NOT NULL,          -- of the working tree
        path TEXT NOT NULL,           -- relative to it; U+FFFD for what is no UTF-8
        path_bytes BLOB,              -- the true name, where it is not UTF-8
        old_path TEXT,
        old_path_bytes BLOB,
        change TEXT NOT NULL,
        old_oid TEXT,
        new_oid TEXT,
        added INTEGER,
        deleted INTEGER,
        attribution TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX file_changes_path ON file_changes (path, chain)",
    "CREATE INDEX file_changes_old_path ON file_changes (old_path, chain) WHERE old_path IS NOT NULL",
    "CREATE INDEX file_changes_new_oid ON file_changes (new_oid) WHERE new_oid IS NOT NULL",
    "CREATE INDEX file_changes_old_oid ON file_changes (old_oid) WHERE old_oid IS NOT NULL",
    "CREATE INDEX file_changes_event ON file_changes (event, session)",
)

# What the events name, as append.py counts it: each name of each event; only what it wrote is an object.
_NAMED = """
    SELECT events.seq AS seq, json_extract(named.value, '$.sha256') AS sha256,
           coalesce(json_extract(named.value, '$.size'), 0) AS size
    FROM events, json_each(events.data, '$.blobs') AS named
    WHERE json_type(events.data, '$.blobs') = 'object' AND named.type = 'object'
"""
_PRUNED = (
    # One event names most of them: those rows need not be written anew.
    "ALTER TABLE blobs ADD COLUMN refs INTEGER NOT NULL DEFAULT 1",
    f"""
    UPDATE blobs SET refs = counted.refs
    FROM (SELECT sha256, count(*) AS refs FROM ({_NAMED}) GROUP BY sha256) AS counted
    WHERE counted.sha256 = blobs.sha256 AND counted.refs <> 1
    """,
    f"UPDATE blobs SET refs = 0 WHERE sha256 NOT IN (SELECT sha256 FROM ({_NAMED}) WHERE sha256 IS NOT NULL)",
    """
    CREATE TABLE outputs (
        seq INTEGER PRIMARY KEY,      -- of an event that keeps its blobs; one that lets them go is not here
        size INTEGER NOT NULL         -- bytes of them, before compression
    ) STRICT
    """,
    f"INSERT INTO outputs SELECT seq, sum(size) FROM ({_NAMED}) GROUP BY seq",
    """
    CREATE TABLE pruned (
        seq INTEGER PRIMARY KEY,      -- as it was: the chain goes on over the stub
        session TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        hash TEXT NOT NULL,
        by_event TEXT NOT NULL        -- the `policy` event of the same session that lists it
    ) STRICT
    """,
    "CREATE INDEX pruned_session ON pruned (session, seq)",
    "CREATE UNIQUE INDEX pruned_id ON pruned (id, session)",
    """
    CREATE TABLE pruned_blobs (
        sha256 TEXT PRIMARY KEY,      -- an event that is still there named it, and need not have it any more
        session TEXT NOT NULL,
        by_event TEXT NOT NULL        -- the `policy` event of that session that lists it
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX pruned_blobs_list ON pruned_blobs (by_event)",
)

_TRACES = (
    """
    CREATE TABLE trace_streams (
        session TEXT NOT NULL,        -- of kind recorder: one process, or a part of its life
        stream INTEGER NOT NULL,      -- one thread; 1 is the one that began the trace
        pid INTEGER NOT NULL,
        ident INTEGER,                -- threading.get_ident(); NULL: not told
        name TEXT NOT NULL DEFAULT '',
        n_events INTEGER NOT NULL DEFAULT 0,
        n_blocks INTEGER NOT NULL DEFAULT 0,
        started_us INTEGER NOT NULL,
        ended_us INTEGER NOT NULL,
        clock_us INTEGER NOT NULL,    -- what the times in ns below are counted from, in the Unix clock
        state TEXT,                   -- where taking it in goes on; NULL: it is over
        PRIMARY KEY (session, stream)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE trace_chunks (
        session TEXT NOT NULL,
        stream INTEGER NOT NULL,
        n INTEGER NOT NULL,           -- the block's number; what is missing between two was folded away
        sha256 TEXT NOT NULL,         -- of the blob: the block without the zeros at its end
        first_event INTEGER NOT NULL,
        n_events INTEGER NOT NULL,
        n_bytes INTEGER NOT NULL,
        started_us INTEGER NOT NULL,
        ended_us INTEGER NOT NULL,
        PRIMARY KEY (session, stream, n)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE trace_functions (
        session TEXT NOT NULL,
        number INTEGER NOT NULL,      -- as the records name it
        path TEXT NOT NULL,
        line INTEGER NOT NULL,
        name TEXT NOT NULL,
        module TEXT NOT NULL,
        names TEXT NOT NULL CHECK (json_valid(names)),  -- of its variables, the arguments first
        n_arguments INTEGER NOT NULL,
        n_calls INTEGER NOT NULL DEFAULT 0,  -- that are kept
        total_ns INTEGER NOT NULL DEFAULT 0, -- of those that ended, what they called included
        max_ns INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session, number)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX trace_functions_path ON trace_functions (path, line)",
    """
    CREATE TABLE trace_calls (
        session TEXT NOT NULL,
        stream INTEGER NOT NULL,
        event INTEGER NOT NULL,       -- the number in the stream of the event that began it
        last_event INTEGER,           -- of the one that ended it; NULL: its end was not seen
        function INTEGER NOT NULL,
        parent INTEGER,               -- the event of the innermost call around it that has a row; NULL: none
        depth INTEGER NOT NULL,       -- calls around it when it began
        started_ns INTEGER NOT NULL,  -- since the stream's clock_us
        duration_ns INTEGER,          -- at work; NULL: its end was not seen
        how TEXT NOT NULL CHECK (how IN ('return', 'unwind', 'open', 'lost')),
        chunk INTEGER NOT NULL,       -- in which it begins
        n_folded INTEGER NOT NULL,    -- calls below it that have no row
        PRIMARY KEY (session, stream, event)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE trace_exceptions (
        session TEXT NOT NULL,
        stream INTEGER NOT NULL,
        event INTEGER NOT NULL,
        function INTEGER NOT NULL,
        line INTEGER NOT NULL,        -- 0: not known
        text TEXT NOT NULL,
        handled INTEGER,              -- the event at which it was caught; NULL: nothing recorded caught it
        at_ns INTEGER NOT NULL,       -- of the last call or return before it, since the stream's clock_us
        PRIMARY KEY (session, stream, event)
    ) STRICT, WITHOUT ROWID
    """,
)

_IO = (
    """
    CREATE TABLE io_chunks (
        session TEXT NOT NULL,
        stream INTEGER NOT NULL,      -- of the thread that wrote or read it
        n INTEGER NOT NULL,           -- 1, 2 ... in the order of that stream
        channel TEXT NOT NULL,        -- stdout, stderr, stdin
        chunk INTEGER NOT NULL,       -- where the bytes are: the block, as in trace_chunks,
        word INTEGER NOT NULL,        -- the word of it at which their record begins,
        start INTEGER NOT NULL,       -- and which of the record's bytes
        size INTEGER NOT NULL,
        flags INTEGER NOT NULL,       -- 1 newline 2 flush 4 step_boundary 8 time_split 16 input 32 mirror
        at_ns INTEGER NOT NULL,       -- since the stream's clock_us
        event INTEGER NOT NULL,       -- events of the stream in front of it
        function INTEGER,             -- that wrote it; NULL: nothing that is recorded was at work
        line INTEGER,                 -- NULL: not known
        frame INTEGER,                -- the event that began the call in which it happened; NULL: not seen
        task TEXT,                    -- the asyncio task; NULL: none
        io_event TEXT NOT NULL,       -- the `io` event that covers it
        PRIMARY KEY (session, stream, n)
    ) STRICT, WITHOUT ROWID
    """,
)

_SEARCH = (
    """
    CREATE TABLE search_docs (
        seq INTEGER PRIMARY KEY,      -- of the event
        size INTEGER NOT NULL,        -- characters of all its texts
        title TEXT,
        paths TEXT,
        said TEXT,
        input TEXT,
        output TEXT
    ) STRICT
    """,
    """
    CREATE TABLE search_state (
        n INTEGER PRIMARY KEY CHECK (n = 1),
        low INTEGER NOT NULL,         -- events with low < seq <= high are in
        high INTEGER NOT NULL,
        n_taken INTEGER NOT NULL DEFAULT 0,    -- how often something was taken out of the index,
        n_scrubbed INTEGER NOT NULL DEFAULT 0  -- and up to which time its segments were merged since
    ) STRICT
    """,
    """
    INSERT INTO search_state (n, low, high)
    SELECT 1, coalesce(max(seq), 0), coalesce(max(seq), 0) FROM events
    """,
    """
    CREATE TABLE search_times (
        span INTEGER PRIMARY KEY,     -- seq / 512
        first_us INTEGER NOT NULL,    -- of its events that were indexed; pruned ones may be among them
        last_us INTEGER NOT NULL
    ) STRICT
    """,
)
