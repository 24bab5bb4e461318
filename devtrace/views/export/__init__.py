"""Files for other programs: one format a module, found by its name.

A module here is a format of `devtrace export --format NAME` when it has

    SUFFIX: str                                        the usual ending of its files
    def lines(session, events, read_output) -> Iterator[str]

or, where it is about a commit and not about a session,

    def commit_lines(told, committed_us, call_of, text_of) -> Iterator[str]

with `told` as query/coverage.py tells it. A module is a format of recorded Python programs when it has

    def trace_lines(programs) -> Iterator[str]         the program, and those that its process started
    def write_trace(program, folder) -> int            files in a directory; how many events are in them

with `programs` as query/programs.py has them. An underscore in a module's name is a dash in the format's.
`session` and `events` are rows as the queries give them, in the order of the record, and
`read_output(event)` is the event's Output, or None where none was kept.
"""
