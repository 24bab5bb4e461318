"""`.devtrace/`: the database, the spool, and what keeps them whole.

Nothing is imported here: guests import `devtrace.store.spool`.
"""

VERSION = 6  # how many steps store/migrations/ has; kept in PRAGMA user_version
