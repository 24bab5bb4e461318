"""Files for other programs: one format a module, found by its name.

A module here is a format of `devtrace export --format NAME` when it has

    SUFFIX: str                                        the usual ending of its files
    def lines(session, events, read_output) -> Iterator[str]

where `session` and `events` are rows as the queries give them, in the order of the record, and
`read_output(event)` is the event's Output, or None where none was kept.
"""
