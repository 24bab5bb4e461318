"""What `devtrace verify` found, and what its answer is worth.

Lives here: the lines, and the records of `--json`. Not here: checking (query/verify.py, query/seals.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from devtrace.query.seals import Late, Outside
from devtrace.query.verify import DOUBTS, FINDINGS, Finding, Verified
from devtrace.views import jsonl, words
from devtrace.views.console import Line
from devtrace.views.safe import safe

_PROVES = (
    "Each event's hash covers all that is recorded of it and the hash before it; a seal covers the last",
    "event of a session, and .devtrace/seals.log says each seal once more. Not covered is what stands at the",
    "head of a session: its agent, label, branch and times. What this proves depends on what was kept out of",
    "reach of whoever may write to the store:",
    "  nothing     a change in the database alone is found, be chain and seals written anew with it. Who",
    "              writes seals.log anew too, or removes it, is not found.",
    "  a copy      `cp .devtrace/seals.log` to where they cannot write: `--against COPY` finds every change",
    "              of what was sealed before. What was sealed after it stands on the line above.",
    "  a signature `--sign` seals with your SSH key: nobody without it can change a signed session and",
    "              leave that key's signature on it. Look whose key signed: others may sign with theirs, or",
    "              take a signature away. It says neither when, nor that what was recorded was true.",
)
_LABEL = 12


def named(verified: Verified) -> Iterator[str]:
    """The ids that the lines will name."""
    for finding in verified.findings:
        yield from (one for one in finding[:2] if one is not None)
    yield from (late.session for late in verified.late)


def verify_lines(
    verified: Verified, outside: Outside, short: Mapping[str, str], *, heads: Mapping[str, str]
) -> list[Line]:
    """A line a finding, what came late, who signed, the sum, and what it proves.

    `heads`: the last hash of sessions to be told.
    """
    lines = [_finding(finding, short) for finding in verified.findings]
    if verified.more:
        lines.append([(f"and {verified.more:,} more", "dim")])
    lines += [_late(late, short) for late in verified.late]
    lines += _signed(outside)
    if lines:
        lines.append([])
    lines += _sum(verified)
    lines += [[(line, "dim")] for line in _kept(verified, outside)]
    lines += [
        [(f"head of {short.get(session, session)}  {digest}", "dim")] for session, digest in heads.items()
    ]
    return [*lines, [], *([(line, "dim")] for line in _PROVES)]


def verify_records(verified: Verified, outside: Outside, *, heads: Mapping[str, str]) -> Iterator[str]:
    """The same for machines: the findings, what came late, the signatures, and the sum."""
    for finding in verified.findings:
        yield jsonl.line("verify", {**finding._asdict(), "doubt": finding.what in DOUBTS})
    for late in verified.late:
        yield jsonl.line("late", late._asdict())
    for one in outside.signatures:
        fields = {"session": one.session, "seal": one.n, "head": one.is_head, "state": one.state}
        yield jsonl.line("signature", {**fields, "key": one.key, "principal": one.principal})
    summary = {
        "sessions": verified.sessions,
        "events": verified.events,
        "seals": verified.seals,
        "blobs": verified.blobs,
        "pruned": verified.pruned,
        "dropped": verified.dropped,
        "findings": len(verified.findings) + verified.more,
        "sound": verified.is_sound,
        "anchored": verified.anchored if outside.has_log else None,
        "compared": outside.compared,
        "sealed": outside.n_sealed,
        "signed": outside.n_signed,
        "heads": heads,
    }
    yield jsonl.line("verified", summary)


def _finding(finding: Finding, short: Mapping[str, str]) -> Line:
    place = "" if finding.session is None else short.get(finding.session, finding.session)
    if finding.event is not None:
        place += "/" + short.get(finding.event, finding.event)
    told = FINDINGS[finding.what] + (f" ({finding.number:,})" if finding.number != 1 else "")
    style = "warning" if finding.what in DOUBTS else "failed"
    label = finding.what.replace("_", " ").ljust(_LABEL)
    return [(label, style), (f" {place}  " if place else " ", "id"), (told, "")]


def _late(late: Late, short: Mapping[str, str]) -> Line:
    told = f"{words.count(late.seals, 'seal')} after the first, over {words.count(late.events, 'event')}"
    if late.since_us is not None and late.until_us is not None:
        told += f" of {words.stamp(late.since_us)}"
        if words.stamp(late.until_us) != words.stamp(late.since_us):
            told += f" to {words.stamp(late.until_us)}"
    return [("late".ljust(_LABEL), "dim"), (f" {short.get(late.session, late.session)}  ", "id"), (told, "")]


def _signed(outside: Outside) -> Iterator[Line]:
    """A line a key, the vouched ones first."""
    good = [one for one in outside.signatures if one.state == "good"]
    counted = Counter((one.principal, one.key, one.is_head) for one in good)
    for (principal, key, is_head), number in sorted(counted.items(), key=lambda item: item[0][0] is None):
        told = words.count(number, "session") + ("" if is_head else ", up to an earlier seal")
        if principal is not None:
            told += f", by {safe(principal)} with the key {key}"
        else:
            told += f", with the key {key}; nobody vouched for whose that is"
        style = "warning" if principal is None else "good"
        yield [("signed".ljust(_LABEL), style), (f" {told}", "")]


def _sum(verified: Verified) -> Iterator[Line]:
    checked = ", ".join(
        words.count(number, what)
        for number, what in (
            (verified.sessions, "session"),
            (verified.events, "event"),
            (verified.seals, "seal"),
            (verified.blobs, "kept output"),
            (verified.pruned, "pruned event"),
            (verified.dropped, "pruned output"),
        )
        if number or not what.startswith("pruned")
    )
    verdict = ("sound", "good") if verified.is_sound else ("not as it was recorded", "failed")
    yield [("Checked ", ""), (checked, ""), (": ", ""), verdict]


def _kept(verified: Verified, outside: Outside) -> Iterator[str]:
    """What the verdict stands on besides the database."""
    if not verified.seals and not verified.anchored:
        return
    of = words.count(verified.seals, "seal")
    if not outside.has_log:
        yield "There is no seals.log that can be read: nothing was kept outside the database."
    elif outside.is_log_new:
        yield f"seals.log was begun just now, with {of}: nothing was kept outside the database before."
    else:
        yield f"In seals.log: {verified.anchored:,} of {of}."
    if outside.n_signed:
        yield f"Signed: {outside.n_signed:,} of {words.count(outside.n_sealed, 'sealed session')}."
    if outside.compared is not None:
        yield f"Compared with {words.count(outside.compared, 'seal')} of the copy."
