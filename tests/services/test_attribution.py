"""Whose change it was is judged by times alone, and what they leave open stays open."""

from __future__ import annotations

import pytest

from devtrace.services.edits.attribution import (
    BACKGROUND,
    Window,
    attribute,
    fitting,
    is_heard,
    may_be_over,
)
from devtrace.services.edits.checkpoint import Found
from devtrace.services.edits.telling import moments_of
from devtrace.sources.worktree import PLAIN, TICK_US, File


def settled(moments, windows, heard_us, ended_us):
    return is_heard(moments, heard_us) and not may_be_over(moments, windows, ended_us)


def judged(moments, windows, path):
    return attribute(moments, fitting(windows, path))


def ran(name, started_us, ended_us, parent=None, session="s"):
    return Window(session, name, parent, started_us, ended_us, "human")


def test_one_command_that_ran_then_did_it():
    a, b = ran("a", 100, 200), ran("b", 300, 400)

    verdict = attribute([(150, 160), (190, 210)], [a, b])

    assert (verdict.attribution, verdict.confidence, verdict.window) == ("command", "window", a)
    assert verdict.candidates == ("s/a",)


@pytest.mark.parametrize(
    ("moment", "fits"), [((0, 100), True), ((200, 300), True), ((0, 99), False), ((201, 300), False)]
)
def test_the_ends_of_a_command_belong_to_it(moment, fits):
    assert (attribute([moment], [ran("a", 100, 200)]).window is not None) is fits


def test_what_runs_still_may_have_done_anything_since():
    a = ran("a", 100, None)

    assert attribute([(10**15, 10**15)], [a]).window == a
    assert attribute([(0, 99)], [a]).attribution == "background"


@pytest.mark.parametrize(
    "moments", [[(190, 310)], [(150, 150), (350, 350)], [(350, 350), (150, 150), (150, 150)]]
)
def test_it_is_never_one_command_s_when_two_fit(moments):
    verdict = attribute(moments, [ran("b", 300, 400), ran("a", 100, 200)])

    assert (verdict.attribution, verdict.confidence, verdict.window) == ("ambiguous", "none", None)
    assert verdict.candidates == ("s/a", "s/b")


def test_two_at_once_in_two_sessions_are_both_named():
    verdict = attribute([(150, 160)], [ran("a", 100, 200), ran("a", 100, 200, session="t")])

    assert (verdict.attribution, verdict.candidates) == ("ambiguous", ("s/a", "t/a"))


def test_of_commands_inside_each_other_the_innermost_is_meant():
    outer = ran("outer", 0, 1000)
    middle = ran("middle", 100, 900, "outer", "t")
    inner = ran("inner", 200, 800, "middle", "u")

    for windows in ([outer, middle, inner], [inner, outer, middle], [middle, inner, outer]):
        verdict = attribute([(500, 500)], windows)
        assert (verdict.attribution, verdict.confidence, verdict.window) == ("command", "inside", inner)
    assert attribute([(150, 150)], [outer, middle, inner]).window == middle
    assert attribute([(50, 50)], [outer, middle, inner]).confidence == "window"


def test_two_inside_the_same_one_are_both_named():
    windows = [ran("outer", 0, 1000), ran("a", 0, 500, "outer"), ran("b", 0, 500, "outer")]

    assert attribute([(100, 100)], windows).candidates == ("s/a", "s/b")


def test_inside_one_time_and_around_it_the_next_is_not_one_command_s():
    windows = [ran("outer", 0, 1000), ran("inner", 200, 300, "outer")]

    assert attribute([(250, 250), (500, 500)], windows).attribution == "ambiguous"


def test_parents_in_a_circle_end():
    windows = [ran("a", 0, 10, "b"), ran("b", 0, 10, "a")]

    assert attribute([(5, 5)], windows).attribution == "background"  # each is around the other
    assert attribute([(5, 5)], [ran("a", 0, 10, "a"), ran("c", 0, 10)]).window.event == "c"


def test_what_no_command_explains_is_of_the_background():
    assert attribute([(5, 6)], []) == ("background", "none", None, ())
    assert attribute([(5, 6)], [ran("a", 100, 200)]).attribution == "background"
    assert attribute([], [ran("a", 100, 200)]).attribution == "background"


def test_what_one_command_explains_in_part_is_ambiguous():
    verdict = attribute([(150, 150), (250, 250)], [ran("a", 100, 200)])

    assert (verdict.attribution, verdict.window, verdict.candidates) == (
        "ambiguous",
        None,
        ("s/a", BACKGROUND),
    )


# --- whether that may still change --------------------------------------------------------------------------


def test_what_was_not_heard_of_yet_may_explain_it():
    windows = [ran("a", 100, 200)]

    assert settled([(150, 160)], windows, heard_us=160, ended_us=0)
    assert not settled([(150, 160)], windows, heard_us=159, ended_us=10**6)
    assert not settled([(150, 160), (150, 300)], windows, heard_us=200, ended_us=10**6)
    assert settled([], windows, 0, 0)


def test_a_command_that_runs_may_have_ended_before_it():
    running = [ran("a", 100, None)]

    assert settled([(150, 160)], running, heard_us=1000, ended_us=160)
    assert not settled([(150, 161)], running, heard_us=1000, ended_us=160)
    assert settled([(50, 60)], running, heard_us=1000, ended_us=0)


def test_that_the_one_around_still_runs_settles_nothing_and_unsettles_nothing():
    windows = [ran("outer", 0, None), ran("inner", 100, 200, "outer")]

    assert settled([(150, 160)], windows, heard_us=1000, ended_us=0)
    assert not settled([(250, 260)], windows, heard_us=1000, ended_us=0)


# --- when it changed ----------------------------------------------------------------------------------------


def there(changed_us):
    file = File(PLAIN, b"", changed_ns=changed_us * 1000)
    return Found(b"a", None, None, file, None, changed_us)


def gone(changed_us):
    return Found(b"a", None, None, None, None, changed_us)


def test_without_a_hint_it_changed_when_the_file_says():
    assert moments_of(there(500), [], 100) == [(500, 500 + TICK_US)]


def test_the_file_narrows_the_last_hint_alone():
    assert moments_of(there(500), [(400, 900)], 100) == [(500, min(900, 500 + TICK_US))]
    assert moments_of(there(500), [(450, 510), (200, 300)], 100) == [(200, 300), (500, 510)]


def test_what_is_gone_changed_some_time_since_it_was_there():
    assert moments_of(gone(500), [], 100) == [(100, 500 + TICK_US)]
    assert moments_of(gone(500), [(200, 300)], 100) == [(200, 300)]
    assert moments_of(there(0), [], 100) == [(0, TICK_US)]  # whose time is not known


def test_a_clock_that_was_set_back_is_no_reason_to_fail():
    late = 10**12
    assert moments_of(gone(500), [], late) == [(500, 500 + TICK_US)]
    assert moments_of(there(late), [(400, 410)], 100) == [(late, late + TICK_US)]  # after every hint
    assert moments_of(there(500), [(late, late + 10)], 100) == [(late, late + 10)]  # before: times were set


# --- an agent's tools -------------------------------------------------------------------------------------


def worked(name, started_us, ended_us, *claims, parent=None):
    return Window("s", name, parent, started_us, ended_us, "agent:codex", 0, True, claims)


def test_a_tool_that_says_it_wrote_the_path_did_it_whatever_ran_beside_it():
    tool, shell = worked("edit", 100, 200, b"a.py"), ran("sh", 90, 210)

    verdict = judged([(150, 160)], [tool, shell], b"a.py")

    assert (verdict.attribution, verdict.confidence, verdict.window) == ("tool", "claim", tool)
    assert verdict.candidates == ("s/edit",)


def test_of_any_other_path_it_knows_nothing():
    tool, client = worked("edit", 100, 200, b"a.py", parent="client"), ran("client", 0, None)

    assert judged([(150, 160)], [tool, client], b"b.py").window == client
    assert judged([(150, 160)], [tool], b"b.py").attribution == "background"


def test_a_claim_outside_the_tool_s_time_is_none():
    tool, client = worked("edit", 100, 200, b"a.py", parent="client"), ran("client", 0, None)

    assert judged([(150, 160), (300, 310)], [tool, client], b"a.py").attribution == "ambiguous"
    assert judged([(300, 310)], [tool, client], b"a.py").window == client


def test_a_tool_whose_end_nobody_told_claims_no_more_than_its_time():
    """It may have been over when the command beside it began."""
    tool, shell = worked("edit", 100, None, b"a.py", parent="client"), ran("sh", 300, 400, "client")

    assert judged([(350, 360)], [tool, shell, ran("client", 0, None)], b"a.py").attribution == "ambiguous"
    alone = judged([(150, 160)], [tool, ran("client", 0, None)], b"a.py")
    assert (alone.attribution, alone.confidence, alone.window) == ("tool", "inside", tool)


def test_two_that_claim_it_are_both_named():
    tools = [worked("one", 100, 200, b"a.py"), worked("two", 100, 200, b"a.py")]

    verdict = judged([(150, 160)], tools, b"a.py")

    assert (verdict.attribution, verdict.candidates) == ("ambiguous", ("s/one", "s/two"))


def test_a_tool_that_names_no_paths_is_judged_by_its_time_inside_of_its_client():
    tool, client = worked("mcp", 100, 200, parent="client"), ran("client", 0, None)

    verdict = judged([(150, 160)], [tool, client], b"a.py")

    assert (verdict.attribution, verdict.confidence, verdict.window) == ("tool", "inside", tool)
