"""A cursor leads on in the answer that it was given in, and nowhere else."""

from __future__ import annotations

import base64

import pytest

from devtrace.errors import DevTraceError
from devtrace.services.mcp_server.cursor import Desk
from devtrace.workspace import Workspace, create

PLACE = {"u": 12, "k": [1_795_269_792_000_000, 7]}


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


def refusal(desk, cursor):
    with pytest.raises(DevTraceError) as refused:
        desk.take_back(cursor)
    assert refused.value.code == "ERR_CURSOR"
    assert refused.value.hint
    return refused.value.message


def test_it_comes_back_as_the_place_that_it_was_made_of(workspace):
    desk = Desk(workspace, "list_events", {"session": "3f2a"})

    assert desk.take_back(desk.hand_out(PLACE)) == PLACE


def test_it_holds_for_another_process_of_the_same_store(workspace):
    cursor = Desk(workspace, "list_events", {"session": "3f2a"}).hand_out(PLACE)

    assert Desk(workspace, "list_events", {"session": "3f2a"}).take_back(cursor) == PLACE


def test_the_next_page_may_be_of_another_size(workspace):
    cursor = Desk(workspace, "list_events", {"limit": 20, "max_bytes": 4_000}).hand_out(PLACE)

    again = Desk(workspace, "list_events", {"limit": 5, "max_bytes": 9_000, "cursor": cursor})

    assert again.take_back(cursor) == PLACE


def test_one_of_another_tool_is_refused(workspace):
    cursor = Desk(workspace, "list_events", {}).hand_out(PLACE)

    assert "another tool" in refusal(Desk(workspace, "list_sessions", {}), cursor)


def test_one_for_other_arguments_is_refused(workspace):
    cursor = Desk(workspace, "list_events", {"session": "3f2a"}).hand_out(PLACE)

    assert "other arguments" in refusal(Desk(workspace, "list_events", {"session": "3f2b"}), cursor)


def test_one_of_another_store_is_refused(workspace, tmp_path):
    other = Workspace(tmp_path / "other" / ".devtrace")
    other.root.mkdir()
    create(other)
    cursor = Desk(other, "list_events", {}).hand_out(PLACE)

    assert "no cursor of this store" in refusal(Desk(workspace, "list_events", {}), cursor)


def test_one_that_was_cut_off_is_refused_wherever_it_was_cut(workspace):
    desk = Desk(workspace, "list_events", {})
    cursor = desk.hand_out(PLACE)

    for length in range(len(cursor)):
        refusal(desk, cursor[:length])


def test_one_in_which_anything_was_changed_is_refused(workspace):
    desk = Desk(workspace, "list_events", {})
    data = base64.urlsafe_b64decode(desk.hand_out(PLACE) + "==")

    for at in range(len(data)):
        forged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        refusal(desk, base64.urlsafe_b64encode(forged).decode().rstrip("="))


@pytest.mark.parametrize(
    "cursor", ["x", "....", "ä", "a b", "e30", "==", "A" * 1_999], ids=lambda cursor: cursor[:5]
)
def test_what_is_no_cursor_at_all_is_refused(workspace, cursor):
    assert "no cursor of this store" in refusal(Desk(workspace, "list_events", {}), cursor)


def test_where_the_salt_cannot_be_read_it_holds_for_this_process(workspace):
    workspace.salt.unlink()
    desk = Desk(workspace, "list_events", {})

    assert Desk(workspace, "list_events", {}).take_back(desk.hand_out(PLACE)) == PLACE
