"""A choice keeps its reason."""

from __future__ import annotations

from devtrace.choices import Choice


def test_a_choice_tells_what_was_chosen_and_why() -> None:
    choice = Choice("hook", "PS0 with one fork", because="${ } arrived in bash 5.3")

    assert choice.as_dict() == {
        "what": "hook",
        "chosen": "PS0 with one fork",
        "because": "${ } arrived in bash 5.3",
    }
    assert "arrived in bash 5.3" in repr(choice)
