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
