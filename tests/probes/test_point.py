"""A point: what a body makes of one, how it changes, what of it is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.probes.fields import BY_NAME, FIELDS, RATE_LIMIT, SNAPSHOT
from devtrace.probes.points import (
    INSTALLED,
    LOGPOINT,
    PENDING,
    TRACEPOINT,
    Grammar,
    Placed,
    Point,
    Points,
    Refused,
    iso,
    point_from_json,
    point_from_stored,
)
from tests.probes.grammars import GRAMMAR, HERE, LOG, NOON, SECOND, Clock, hit_count, template


def made(kind: str = TRACEPOINT, **body: Any) -> Point:
    return point_from_json(kind, {**(LOG if kind == LOGPOINT else HERE), **body}, Clock(), GRAMMAR)


def refused(kind: str = TRACEPOINT, **body: Any) -> Refused:
    with pytest.raises(Refused) as told:
        made(kind, **body)
    return told.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def points(clock: Clock) -> Points:
    return Points(clock, GRAMMAR)


def added(points: Points, kind: str = TRACEPOINT, **body: Any) -> Point:
    return points.add(points.made(kind, {**(LOG if kind == LOGPOINT else HERE), **body}))


# --- made of a body -----------------------------------------------------------------------------------------


def test_what_is_not_given_is_as_documented() -> None:
    told = made().as_json()

    assert told["rateLimit"] == RATE_LIMIT == {"limitPerSecond": 10, "burst": 1}
    assert told["snapshot"] == SNAPSHOT
    assert (SNAPSHOT["maxDepth"], SNAPSHOT["maxProperties"], SNAPSHOT["maxStringLength"]) == (3, 100, 1024)
    assert (told["condition"], told["enabled"], told["tags"], told["hitCount"]) == (None, True, [], 0)
    assert (told["status"], told["created"]) == (PENDING, "2026-01-01T12:00:00.000Z")
    assert told["expiresAt"] == "2026-01-01T13:00:00.000Z"  # an hour later


def test_every_point_has_an_id_of_its_own() -> None:
    ids = {made().id for _ in range(10)}

    assert len(ids) == 10
    assert {len(one) for one in ids} == {36}


def test_an_id_that_is_given_is_taken() -> None:
    assert made(id="probe-1f").id == "probe-1f"


@pytest.mark.parametrize("wrong", ["", "../x", "a/b", "-a", "a b", "é", "x" * 65, 7, "a\n"])
def test_an_id_that_a_path_cannot_hold_is_refused(wrong: object) -> None:
    assert refused(id=wrong).code == "INVALID_FIELD"


def test_texts_are_compiled_once_and_kept_beside_what_was_written() -> None:
    point = made(LOGPOINT, condition="x > 3", hitCondition="%3", watch=["y", "z.w"])

    assert point.condition == ("read", "x > 3")
    assert point.template == ("x={x}", False)
    assert point.hit_rule == ["%3"]
    assert point.watches == [("y", ("read", "y")), ("z.w", ("read", "z.w"))]
    assert point.as_json()["watch"] == ["y", "z.w"]


def test_a_log_expression_is_a_message_in_mustaches() -> None:
    point = point_from_json(LOGPOINT, {**HERE, "log_expression": "x={{x}}"}, Clock(), GRAMMAR)

    assert (point.message, point.template) == ("x={{x}}", ("x={{x}}", True))
    assert point.as_json()["log_expression"] == point.as_json()["message"] == "x={{x}}"


def test_a_message_outdoes_a_log_expression() -> None:
    point = made(LOGPOINT, log_expression="y={{y}}")

    assert (point.message, point.is_mustache) == ("x={x}", False)
    assert "log_expression" not in point.as_json()


def test_the_other_names_of_documented_fields_set_the_same() -> None:
    point = made(
        sample={"limitPerSecond": 5, "burst": 5},
        snapshot={"maxProps": 7},
        expire_hit_count=50,
        expire_duration_ms=1500,
    )

    assert point.settings["rateLimit"] == {"limitPerSecond": 5, "burst": 5}
    assert point.settings["snapshot"] == {**SNAPSHOT, "maxProperties": 7}
    assert (point.hits_until, point.expires_ns) == (50, NOON + 1_500_000_000)


def test_an_expiry_of_zero_is_none_that_was_asked_for() -> None:
    point = made(expire_hit_count=0, expire_duration_ms=0)

    assert (point.hits_until, point.expires_ns) == (None, NOON + 3600 * SECOND)


def test_the_documented_name_wins_over_its_other_one() -> None:
    assert made(sample={"burst": 5}, rateLimit={"burst": 7}).settings["rateLimit"]["burst"] == 7
    assert made(maxHits=2, expire_hit_count=9).hits_until == 2


@pytest.mark.parametrize(
    "name", [field.name for field in FIELDS if field.default is not None or not field.sets]
)
def test_null_is_as_good_as_not_given(name: str) -> None:
    kind = BY_NAME[name].kinds[-1]

    assert made(kind, **{name: None}).settings[BY_NAME[name].sets] == BY_NAME[BY_NAME[name].sets].default


@pytest.mark.parametrize("name", ["condition", "hitCondition", "maxHits", "sample", "expire_duration_ms"])
def test_null_of_what_has_no_default_is_none_of_it(name: str) -> None:
    assert (
        made(TRACEPOINT, **{name: None}).settings[BY_NAME[name].sets] == BY_NAME[BY_NAME[name].sets].default
    )


def test_an_empty_condition_is_none() -> None:
    assert made(condition="").condition is None


def test_an_unknown_field_is_taken_and_told() -> None:
    point = made(conditon="x", snapshot={"maxDepth": 1, "params": True}, lang="python")

    assert point.as_json()["ignored"] == ["conditon", "lang", "snapshot.params"]


def test_stdout_is_never_written_to_whatever_is_asked() -> None:
    assert made(LOGPOINT, stdout_enabled=True).as_json()["ignored"] == ["stdout_enabled"]
    assert "ignored" not in made(LOGPOINT, stdout_enabled=False).as_json()


def test_a_location_stands_for_file_and_line() -> None:
    point = point_from_json(TRACEPOINT, {"location": "shop.cart:total@exit"}, Clock(), GRAMMAR)

    assert (point.file, point.line, point.where) == (None, None, "shop.cart:total@exit")
    assert point.as_json()["location"] == "shop.cart:total@exit"


@pytest.mark.parametrize("missing", ["file", "line"])
def test_a_body_without_a_place_is_refused(missing: str) -> None:
    body = {name: value for name, value in HERE.items() if name != missing}

    with pytest.raises(Refused) as told:
        point_from_json(TRACEPOINT, body, Clock(), GRAMMAR)

    assert told.value.as_json() == {
        "error": f"Missing required field: {missing}",
        "code": "MISSING_FIELD",
        "details": {"field": missing},
    }


def test_a_logpoint_without_a_message_is_refused() -> None:
    with pytest.raises(Refused, match="Missing required field: message"):
        point_from_json(LOGPOINT, HERE, Clock(), GRAMMAR)


@pytest.mark.parametrize("line", [True, False, "42", 0, -1, 1.0, None, [], 10**9, 10**30])
def test_a_line_that_is_no_line_number_is_refused(line: object) -> None:
    told = refused(line=line)

    assert (told.status, told.code) == (400, "INVALID_LINE")
    assert told.message == "Invalid line number: line must be >= 1"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("file", ""), ("file", " "), ("file", None), ("file", 7), ("file", "a\x00b"), ("file", "\udc80"),
        ("file", "x" * 4097), ("location", 3), ("condition", 3), ("condition", ["x"]), ("hitCondition", True),
        ("hitCondition", 1.5), ("tags", "x"), ("tags", [""]), ("tags", [1]), ("tags", ["x" * 65]),
        ("tags", [f"{n}" for n in range(33)]), ("enabled", 1), ("enabled", "true"), ("rateLimit", 10),
        ("rateLimit", {"limitPerSecond": 0}), ("rateLimit", {"limitPerSecond": True}),
        ("rateLimit", {"burst": 1.5}), ("rateLimit", {"burst": 0}), ("sample", {"burst": "1"}),
        ("rateLimit", {"limitPerSecond": float("nan")}), ("snapshot", []), ("snapshot", {"maxDepth": -1}),
        ("snapshot", {"maxDepth": 21}), ("snapshot", {"maxProps": "x"}), ("watch", "x"),
        ("watch", [f"x{n}" for n in range(21)]), ("maxHits", 0), ("maxHits", True), ("expire_hit_count", -1),
        ("ttlSeconds", 0), ("ttlSeconds", 10**9), ("ttlSeconds", "1h"), ("expire_duration_ms", -1),
        ("nearest", "yes"), ("file_hash", 7),
    ],
)  # fmt: skip
def test_a_field_that_is_not_what_it_may_be_is_refused(name: str, wrong: object) -> None:
    told = refused(TRACEPOINT, **{name: wrong})

    assert (told.status, told.code) == (400, "INVALID_FIELD")
    assert told.details["field"].startswith(name)  # type: ignore[attr-defined]  # details are plain values
    assert told.details["wants"]


@pytest.mark.parametrize(("name", "wrong"), [("level", "LOUD"), ("stdout_enabled", 1), ("message", "")])
def test_a_field_of_logpoints_that_is_not_what_it_may_be_is_refused(name: str, wrong: object) -> None:
    assert refused(LOGPOINT, **{name: wrong}).code == "INVALID_FIELD"


@pytest.mark.parametrize("name", ["message", "log_expression", "level", "stdout_enabled"])
def test_a_tracepoint_has_no_field_of_logpoints(name: str) -> None:
    assert refused(TRACEPOINT, **{name: "x"}).message == f"Invalid field: a tracepoint has no {name}"


def test_a_condition_that_cannot_be_read_is_refused_with_its_column() -> None:
    told = refused(condition="x (")

    assert told.as_json() == {
        "error": "Invalid condition: unbalanced (",
        "code": "INVALID_CONDITION",
        "details": {"field": "condition", "column": 3},
    }
    assert told.status == 422


def test_a_message_that_cannot_be_read_is_refused() -> None:
    told = refused(LOGPOINT, message="x {y")

    assert (told.status, told.code, told.details) == (
        422,
        "INVALID_TEMPLATE",
        {"field": "message", "column": 3},
    )


def test_a_hit_condition_that_cannot_be_read_is_refused() -> None:
    assert (refused(hitCondition="many").status, refused(hitCondition="many").code) == (
        422,
        "INVALID_HIT_CONDITION",
    )


def test_a_watch_that_cannot_be_read_is_refused_by_its_number() -> None:
    assert refused(watch=["x", "y ("]).details["field"] == "watch[1]"


def test_nesting_that_python_cannot_read_is_no_bug_of_ours() -> None:
    def too_deep(text: str) -> object:
        raise RecursionError

    with pytest.raises(Refused, match="nested too deeply"):
        point_from_json(
            TRACEPOINT, {**HERE, "condition": "(("}, Clock(), Grammar(too_deep, template, hit_count)
        )


class Reading:
    """What a text was read as: the words before a dot are names, the others members."""

    def __init__(self, text: str, *_: object):
        self.names = frozenset({text.split(".")[0]})
        self.members = frozenset(text.split(".")[1:])


@pytest.mark.parametrize("text", ["password", "user.password", "password.size"])
@pytest.mark.parametrize("field", ["condition", "message", "watch"])
def test_what_reads_a_secret_by_its_name_is_refused(field: str, text: str) -> None:
    grammar = Grammar(Reading, Reading, hit_count, hides_name=lambda name: name == "password")
    body = {**LOG, field: [text] if field == "watch" else text}

    with pytest.raises(Refused) as told:
        point_from_json(LOGPOINT, body, Clock(), grammar)

    assert (told.value.status, told.value.code) == (422, "HIDDEN_NAME")
    assert told.value.details == {"field": "watch[0]" if field == "watch" else field, "name": "password"}
    assert point_from_json(LOGPOINT, {**body, field: ["x"] if field == "watch" else "x"}, Clock(), grammar)


def test_a_bug_of_the_grammar_is_told_as_one() -> None:
    def broken(text: str) -> object:
        raise KeyError("x")

    with pytest.raises(KeyError):
        point_from_json(TRACEPOINT, {**HERE, "condition": "x"}, Clock(), Grammar(broken, template, hit_count))


# --- its changes --------------------------------------------------------------------------------------------


def test_a_change_makes_another_point_with_the_same_standing(points: Points) -> None:
    before = added(points, condition="x")
    before.standing.hit_count = 7

    after = points.change(before.id, {"condition": "y", "tags": ["a"]})

    assert (before.condition, after.condition) == (("read", "x"), ("read", "y"))
    assert after.standing is before.standing
    assert (after.as_json()["hitCount"], after.tags) == (7, ("a",))


def test_a_refused_change_changes_nothing(points: Points) -> None:
    before = added(points, condition="x")

    with pytest.raises(Refused):
        points.change(before.id, {"tags": ["a"], "condition": "("})

    assert points.get(before.id) is before
    assert before.tags == ()


def test_a_condition_is_removed_by_null(points: Points) -> None:
    point = added(points, condition="x")

    assert points.change(point.id, {"condition": None}).condition is None


def test_a_change_of_a_part_keeps_the_others(points: Points) -> None:
    point = added(points, rateLimit={"limitPerSecond": 5, "burst": 3}, snapshot={"maxDepth": 1})

    after = points.change(point.id, {"rateLimit": {"burst": 9}, "snapshot": {"maxFrames": 2}})

    assert after.settings["rateLimit"] == {"limitPerSecond": 5, "burst": 9}
    assert after.settings["snapshot"] == {**SNAPSHOT, "maxDepth": 1, "maxFrames": 2}
    assert point.settings["rateLimit"]["burst"] == 3
    assert RATE_LIMIT["burst"] == 1


@pytest.mark.parametrize(
    ("name", "other"), [("file", "b.py"), ("line", 43), ("id", "x"), ("location", "a:1")]
)
def test_a_point_stays_where_it_is(points: Points, name: str, other: object) -> None:
    point = added(points)

    with pytest.raises(Refused, match=f"{name} cannot be changed") as told:
        points.change(point.id, {name: other})

    assert told.value.code == "INVALID_FIELD"


@pytest.mark.parametrize("legacy", [False, True])
def test_all_that_was_told_can_be_sent_back(points: Points, legacy: bool) -> None:
    body = {**HERE, "log_expression": "{{x}}"} if legacy else {**LOG, "condition": "x", "maxHits": 3}
    point = points.add(points.made(LOGPOINT, body))
    points.report(point.id, Placed(INSTALLED, line=44, resolved=[{"file": "app.py", "line": 44}]))
    told = point.as_json()

    after = points.change(point.id, json.loads(json.dumps({**told, "tags": ["new"]})))

    assert {**after.as_json(), "tags": []} == {**points.find(point.id).as_json(), "tags": []}
    assert (after.line, after.is_mustache, after.tags) == (44, legacy, ("new",))
    assert after.as_json()["requestedLine"] == 42


def test_a_message_takes_the_place_of_a_log_expression_and_the_other_way_round(points: Points) -> None:
    point = points.add(points.made(LOGPOINT, {**HERE, "log_expression": "{{x}}"}))

    after = points.change(point.id, {"message": "{y}", "log_expression": "{{x}}"})
    assert after.template == ("{y}", False)
    after = points.change(point.id, {"message": "{y}", "log_expression": "{{z}}"})
    assert after.template == ("{{z}}", True)


def test_a_tracepoint_is_given_no_message(points: Points) -> None:
    with pytest.raises(Refused, match="a tracepoint has no message"):
        points.change(added(points).id, {"message": "x"})


def test_a_hit_condition_goes_on_counting_when_something_else_changes(points: Points) -> None:
    point = added(points, hitCondition="%3")

    assert points.change(point.id, {"tags": ["a"]}).hit_rule is point.hit_rule
    assert points.change(point.id, {"hitCondition": "%4"}).hit_rule == ["%4"]
    assert points.change(point.id, {"hitCondition": None}).hit_rule is None


def test_a_new_time_to_live_counts_from_now(points: Points, clock: Clock) -> None:
    point = added(points)

    clock.passes(10)
    assert points.change(point.id, {"tags": []}).expires_ns == NOON + 3600 * SECOND
    assert points.change(point.id, {"ttlSeconds": 60}).expires_ns == NOON + 70 * SECOND


# --- for the store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (TRACEPOINT, {**HERE, "condition": "x", "tags": ["a"], "watch": ["y"], "hitCondition": ">5"}),
        (TRACEPOINT, {"location": "shop:total@exit", "rateLimit": {"burst": 3}, "enabled": False}),
        (LOGPOINT, {**LOG, "level": "warn", "maxHits": 4, "ttlSeconds": 1.5}),
        (LOGPOINT, {**HERE, "log_expression": "{{x}}", "nearest": True, "file_hash": "ab"}),
    ],
)
def test_what_was_stored_makes_the_same_point(kind: str, body: dict[str, Any], clock: Clock) -> None:
    point = point_from_json(kind, body, clock, GRAMMAR)
    stored = json.loads(json.dumps(point.as_stored()))

    clock.passes(100)
    again = point_from_stored(stored, clock, GRAMMAR)

    assert again.as_json() == point.as_json()
    assert again.as_stored() == point.as_stored()
    assert (again.condition, again.template, again.watches) == (
        point.condition,
        point.template,
        point.watches,
    )


def test_where_a_point_was_found_is_not_stored(points: Points) -> None:
    point = added(points, nearest=True)
    points.report(point.id, Placed(INSTALLED, file="/srv/app.py", line=44))

    assert {**HERE, "nearest": True}.items() <= points.find(point.id).as_stored().items()


@pytest.mark.parametrize(
    "harm", [{"created_ns": "x"}, {"expires_ns": None}, {"line": "x"}, {"condition": "("}]
)
def test_what_is_damaged_in_the_store_is_refused(harm: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        point_from_stored({**made(condition="x").as_stored(), **harm}, Clock(), GRAMMAR)


def test_a_time_is_told_in_utc_and_to_the_millisecond() -> None:
    assert iso(NOON + 7_999_999) == "2026-01-01T12:00:00.007Z"
