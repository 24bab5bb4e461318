"""What the policy adds to the data of any kind is believed of nobody who writes it otherwise."""

from __future__ import annotations

import pytest

from devtrace.errors import UsageError
from devtrace.events import check_body
from tests.store.frames import frame


@pytest.mark.parametrize(
    "data", [{"dropped": "limits.session_mb"}, {"truncated": {"text": 1_000, "a.0": 5}}, {"truncated": {}}]
)
def test_marks_of_the_limits_fit_every_kind(data):
    one = frame(kind="note", data={"text": "x"} | data)

    assert check_body(one) is one


@pytest.mark.parametrize(
    "data", [{"dropped": 1}, {"dropped": None}, {"truncated": ["text"]}, {"truncated": {"text": "long"}}]
)
def test_marks_that_no_reader_expects_are_refused(data):
    with pytest.raises(UsageError) as raised:
        check_body(frame(kind="of tomorrow", data=data))

    assert raised.value.context["field"] == f"data.{next(iter(data))}"
