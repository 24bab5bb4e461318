"""devtrace probe"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devtrace.probes.point import Point
    from devtrace.services.probe import Orders

_SHOWN = 20
_TIMEOUT_S = 30.0

app = typer.Typer(rich_markup_mode=None)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="By any unique start of its id.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="All with that tag; may be repeated.")
]


@app.callback(invoke_without_command=True)
def probe(context: typer.Context) -> None:
    """Ask a running Python program, without stopping it: at a line, a snapshot or a message."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("add")
def add(
    location: Annotated[
        str,
        typer.Argument(
            metavar="WHERE", help="path:line, pkg.mod:line, pkg.mod:function; @entry, @exit or @raise behind."
        ),
    ],
    condition: Annotated[
        str | None, typer.Option("--if", metavar="EXPR", help="Only where that is true.")
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="TEXT", help="A message with {expressions}, in place of a snapshot."),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="The variables and the stack: the default.")
    ] = False,
    watch: Annotated[
        list[str] | None, typer.Option("--watch", metavar="EXPR", help="Its value too; may be repeated.")
    ] = None,
    hit: Annotated[
        str | None, typer.Option("--hit", metavar="N", help="Only some: 5, >=5, <5, %3 (every third).")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="N/s[:M]", help="At most so many, M at once: 10/s.")
    ] = None,
    max_hits: Annotated[int | None, typer.Option("--max-hits", metavar="N", help="Then it is over.")] = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="TIME", help="Then it is over; default: 1h.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="To find it by; may be repeated.")
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", metavar="N", help="Levels of values: 3.")] = None,
    properties: Annotated[
        int | None, typer.Option("--properties", metavar="N", help="Items of one value: 100.")
    ] = None,
    string: Annotated[
        int | None, typer.Option("--string", metavar="N", help="Characters of one text: 1024.")
    ] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Where the line has no code, the nearest that has.")
    ] = False,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FROM=TO", help="A folder here, and where the program has it."),
    ] = None,
    wait: Annotated[
        int, typer.Option("--wait", metavar="N", help="Wait for N hits, and show them.", show_default=False)
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", help="With --wait: no longer; default: 30.", show_default=False
        ),
    ] = _TIMEOUT_S,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, at the end.")] = False,
) -> int:
    """Set a probe in all Python programs of this store, and in those that start while it lives.

    Ends with status 0 when it was hit or sits in a program, 1 while it waits for one, 2 where there is no
    such line or an expression cannot be read. Nothing of the program is called for a hit.

    \b
    Example:
      devtrace probe add app/handlers.py:42 --if 'args[0] > 3' --log 'user {user.id}' --wait 1
      devtrace probe add app.handlers:load@exit --json
    """
    from devtrace.cli.probe_add import add as set_probe
    from devtrace.errors import UsageError
    from devtrace.services.probe_asked import Asked

    if log is not None and snapshot:
        raise UsageError(
            "--log and --snapshot are two probes", code="ERR_USAGE", hint="leave one of them out"
        )
    asked = Asked(
        location, condition=condition, log=log, watch=watch or (), hit=hit, rate=rate, max_hits=max_hits,
        ttl=ttl, tags=tag or (), depth=depth, properties=properties, string=string, nearest=nearest,
        maps=mapping or (),
    )  # fmt: skip
    return set_probe(asked, wait=wait, timeout_s=timeout, json=json)


@app.command("list")
def list_(tag: Tags = None, json: Json = False) -> None:
    """List the probes, and in how many programs each of them sits.

    \b
    Example:
      devtrace probe list --tag checkout
    """
    import os
    import time

    from devtrace.cli import border, reading
    from devtrace.services.probe_hits import hit_counts
    from devtrace.services.probe_records import Records
    from devtrace.services.probe_standing import listing
    from devtrace.services.redaction import redaction
    from devtrace.views import console, jsonl
    from devtrace.views.probe import probe_lines
    from devtrace.workspace import find

    workspace = find()
    found = [(point, told) for point, told in listing(workspace) if not tag or {*tag} & {*point.tags}]
    with reading.opened(workspace) as db:
        hits = hit_counts(db, min((point.created_ns for point, _ in found), default=0) // 1000)
    made = Records(workspace, redaction(workspace, os.environ))
    records = [made.probe(point, told, hits.get(point.id, 0)) for point, told in found]
    if json:
        reading.answer(jsonl.line("probe", one) for one in records)
        return
    if not records:
        border.say("There is no probe. Set one with: devtrace probe add FILE:LINE")
        return
    rows = [
        {**one, "expires_us": point.expires_ns // 1000}
        for one, (point, _) in zip(records, found, strict=True)
    ]
    screen = console.make_console()
    width, now_us = console.width_of(screen), time.time_ns() // 1000
    console.paint(screen, probe_lines(rows, width, root=str(workspace.root), now_us=now_us))


@app.command("rm")
def remove(
    ids: Ids = None,
    tag: Tags = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """Take probes out of all programs.

    \b
    Example:
      devtrace probe rm 3f2a --tag checkout
    """
    with _ordering(ids, tag, all_of_them=all_of_them) as (orders, chosen):
        _tell_changed("Removed", orders.remove(chosen))


@app.command("enable")
def enable(ids: Ids = None, tag: Tags = None) -> None:
    """Switch probes on again; one that has expired is given its time anew.

    \b
    Example:
      devtrace probe enable 3f2a
    """
    with _ordering(ids, tag) as (orders, chosen):
        _tell_changed("Enabled", orders.switch(chosen, True))


@app.command("disable")
def disable(ids: Ids = None, tag: Tags = None) -> None:
    """Switch probes off, and keep them.

    \b
    Example:
      devtrace probe disable --tag checkout
    """
    with _ordering(ids, tag) as (orders, chosen):
        _tell_changed("Disabled", orders.switch(chosen, False))


@app.command("tail")
def tail(
    identity: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only of that probe, by the start of its id.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", metavar="N", help="Begin with the newest N; default: 20.", show_default=False
        ),
    ] = _SHOWN,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One documented event a line.")] = False,
) -> None:
    """Show what probes tell: hits, errors, and what becomes of them, as it comes.

    \b
    Example:
      devtrace probe tail 3f2a --json
    """
    from devtrace.cli import probe_tail
    from devtrace.workspace import find

    probe_tail.tail(find(), identity or "", limit=max(limit, 0), follow=follow, json=json)


@app.command("ps")
def programs(json: Json = False) -> None:
    """List the Python programs of this store: which can be asked, and why others cannot.

    \b
    Example:
      devtrace probe ps
    """
    import os

    from devtrace.cli import border, reading
    from devtrace.query.ids import short
    from devtrace.services.probe_records import Records
    from devtrace.services.redaction import redaction
    from devtrace.views import console, jsonl
    from devtrace.views.probe import program_lines
    from devtrace.workspace import find

    workspace = find()
    records = Records(workspace, redaction(workspace, os.environ)).programs()
    if json:
        reading.answer(jsonl.line("program", one) for one in records)
        return
    if not records:
        border.say("No Python program of this store runs. Start one in a traced shell: devtrace shell")
        return
    with reading.opened(workspace) as db:
        ids = short(db, [one[name] for one in records for name in ("session", "span") if one[name]])
    screen = console.make_console()
    console.paint(screen, program_lines(records, console.width_of(screen), ids))


@app.command("attach")
def attach(pid: Annotated[int, typer.Argument(metavar="PID", help="Of a Python that runs already.")]) -> None:
    """Let a program be asked that was not started in a traced shell: Python 3.14 and newer.

    \b
    Example:
      devtrace probe attach 4711
    """
    from devtrace.services.probe_attach import attach as enter
    from devtrace.workspace import find

    attached = enter(find(), pid)
    if attached.is_new:
        typer.echo(f"Process {attached.pid} can be asked now.")
    else:
        typer.echo(f"Process {attached.pid} could be asked already; nothing was changed.")
    typer.echo("Set a probe with: devtrace probe add FILE:LINE")


@app.command("sink")
def sink(
    port: Annotated[int, typer.Option("--port", metavar="P", help="Where to listen; 0: a free one.")] = 4317,
    json: Annotated[bool, typer.Option("--json", help="One documented event a line.")] = False,
) -> None:
    """Receive the events of programs over HTTP, on this machine alone, and show them until Ctrl-C.

    A program sends them where DEBUGIN_EVENT_SINK_URL says, such as http://127.0.0.1:4317.

    \b
    Example:
      devtrace probe sink --port 4318
    """
    from devtrace.cli import probe_tail

    probe_tail.receive(port, json=json)


@contextmanager
def _ordering(
    ids: Sequence[str] | None, tags: Sequence[str] | None, *, all_of_them: bool = False
) -> Iterator[tuple[Orders, list[str]]]:
    """The orders of the store, and the probes that are meant."""
    import os

    from devtrace.cli import reading
    from devtrace.errors import UsageError
    from devtrace.services.probe import Orders
    from devtrace.workspace import find

    if not (ids or tags or all_of_them):
        raise UsageError("no probe is named", code="ERR_USAGE", hint="give its id, or --tag TAG")
    workspace = find()
    with reading.opened(workspace) as db:
        orders = Orders(db, workspace, os.environ)
        yield orders, orders.chosen(ids or (), tags or (), all_of_them=all_of_them)


def _tell_changed(done: str, points: Sequence[Point]) -> None:
    from devtrace.views import words

    typer.echo(f"{done} {words.count(len(points), 'probe')}.")
    typer.echo("See them all with: devtrace probe list")
