"""DevTrace: local-first provenance for people who work with coding agents in a terminal.

The map of the house, top floor first; an import only ever points down
(`docs/architecture.md` has the picture, `.importlinter` the law):

    cli          parse, call, show, exit
    services     orders, one verb a file, printing nothing
    views        answers: timeline, JSON lines, asciicast
    sources      the outside becomes events: the traced shell
    recorder     the guest that records a Python program
    probes       the guest that answers at a line of a running one: its parts, which nothing starts yet
    bootstrap    what starts it in the programs of a traced shell
    query        questions, read-only
    pipeline     policy, then store: the one way an event travels
    policy       what may be kept
    store        .devtrace/: schema, append, spool, blobs
    events       what happened, one family a file
    config       config.toml and its defaults
    workspace    where the store and the private runtime directory are
    errors, ids, choices

Nothing is imported here: guests inside other people's programs import this package too.
"""

__version__ = "0.1.0"
