"""devtrace doctor"""

from __future__ import annotations

from devtrace.cli.options import Json


def doctor(json: Json = False) -> int:
    """Explain what DevTrace found here: shells, hooks, store, and every fallback with its reason.

    Ends with status 1 when something needs your hand.

    \b
    Example:
      devtrace doctor
    """
    import os

    from devtrace.cli import reading
    from devtrace.services import doctor as service
    from devtrace.views import console, jsonl
    from devtrace.views.doctor import doctor_lines

    findings = service.doctor(os.environ)
    if json:
        reading.answer(jsonl.line("finding", finding._asdict()) for finding in findings)
    else:
        console.paint(console.make_console(), doctor_lines([finding._asdict() for finding in findings]))
    return int(any(finding.state == service.PROBLEM for finding in findings))
