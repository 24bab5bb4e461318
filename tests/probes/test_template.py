"""Templates of messages: fields, braces, formats, and a field that fails."""

from __future__ import annotations

import pytest

from devtrace.probes.spelling import BadExpression
from devtrace.probes.template import error_text, parse_template
from tests.probes import hostile
from tests.probes.scopes import Names


class User:
    def __init__(self):
        self.id = 7


NAMES = {"a": 4, "b": "text", "d": {"a": 1, "}": 2}, "f": 2.25, "user": User(), "i": 2, "s": 3}


def shown(value):
    return value if type(value) is str else f"<{type(value).__name__}>" if type(value) is dict else str(value)


def rendered(text, **more):
    return parse_template(text, **more).render(Names(NAMES), shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("100% {a}", "100% 4"),
        ("%s %d {a}%", "%s %d 4%"),
        ("i={i} s={s}", "i=2 s=3"),
        ("{{x}} {a}", "{x} 4"),
        ("{{{a}}}", "{4}"),
        ("{user.id}", "7"),
        ("{args[0]}", "first"),
        ('{d["a"]}', "1"),
        ('{d["}"]}', "2"),
        ("{ {'a': 3}['a'] }", "3"),
        ("{b[1:3]}", "ex"),
        ("{${a}}", "4"),
        ("{a > 3 && b contains 'x'}", "True"),
        ("{a != 3}", "True"),
        ("{!a}", "False"),
        ("{b!r}", "'text'"),
        ("{b!s}", "text"),
        ("{f:.1f}|{a:>4}|{a:03d}|{b:<6}|{a:x}", "2.2|   4|004|text  |4"),
        ("{b!r:>8}", "  'text'"),
        ("{d}", "<dict>"),
        ("{d!r}", "<dict>"),
        ("{f}: {a}", "2.25: 4"),
    ],
)
def test_a_message_is_rendered(text, expected):
    template = parse_template(text)

    assert template.render(Names(NAMES, args=("first",)), shown) == (expected, [])
    assert template.text == text


def test_a_field_that_fails_leaves_the_rest_of_the_message():
    message, errors = rendered("{user.name} {a} {missing} {d:x} {a / 0}")

    assert (
        message == "{user.name: AttributeError} 4 {missing: NameError} {d: Unsafe} {a / 0: ZeroDivisionError}"
    )
    assert errors == [
        {"expression": "user.name", "error": "AttributeError: 'User' object has no attribute 'name'"},
        {"expression": "missing", "error": "NameError: name 'missing' is not defined"},
        {"expression": "d", "error": "Unsafe: a dict takes no format"},
        {"expression": "a / 0", "error": "ZeroDivisionError: division by zero"},
    ]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("{a", 1),
        ("x {", 3),
        ("a}", 2),
        ("{}", 2),
        ("x { }", 5),
        ("{a b}", 4),
        ("x {a} {lambda: 1}", 8),
        ("{a:99999d}", 4),
        ("{a:{b}}", 4),
        ("{a:%Y}", 4),
        ("{'a}", 2),
        ("{a!x}", 4),
        ("{[a}", 1),
        ("{user.save()}", 2),
        ("{__name__}", 2),
        ("x" * 8_001, 8_001),
        ("{a}" * 51, 1),
    ],
)
def test_a_bad_template_is_refused_where_it_fails(text, column):
    with pytest.raises(BadExpression) as refused:
        parse_template(text)

    assert refused.value.column == column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x={{a}}, y={{ b }}", "x=4, y=text"),
        ("{a} {{a}} }", "{a} 4 }"),
        ("{{user.id}}%", "7%"),
        ("{{a}}{{b}}", "4text"),
        ("{{b!r}}", "'text'"),
    ],
)
def test_the_legacy_form_has_two_braces(text, expected):
    assert rendered(text, legacy_mustache=True) == (expected, [])


@pytest.mark.parametrize(("text", "column"), [("{{a", 1), ("x {{}}", 5), ("{{a b}}", 5)])
def test_a_bad_legacy_template_is_refused_where_it_fails(text, column):
    with pytest.raises(BadExpression) as refused:
        parse_template(text, legacy_mustache=True)

    assert refused.value.column == column


def test_all_that_is_written_passes_through_show():
    seen = []

    def show(value):
        seen.append(value)
        return "***"

    message, _ = parse_template("{b} {b!r} {f:.1f} {d}").render(Names(NAMES), show)

    assert message == "*** *** *** ***"
    assert seen == ["text", "'text'", "2.2", NAMES["d"]]


def test_the_fields_of_a_template_are_known():
    template = parse_template("{a.password} {{b}} {c}")

    assert [field.text for field in template.fields] == ["a.password", "c"]
    assert [sorted(field.names) for field in template.fields] == [["a"], ["c"]]


def test_an_integer_with_too_many_digits_is_not_written():
    scope = Names({"a": 1 << 30_000, "b": "x" * 20_000})

    for text in ("{a:d}", "{a:x}", "{a!r}", "{b:>5}"):
        message, _ = parse_template(text).render(scope, shown)
        assert message.endswith(": Unsafe}")


def test_no_hook_of_a_value_or_of_an_error_is_called():
    values = hostile.values()
    template = parse_template("{v!r} {v:>5} {v.id} {v[0]} {v['id']} {v + 1}")

    for one in values:
        template.render(Names({"v": one}), lambda _: "shown")

    assert (hostile.calls, hostile.asked) == (0, [])
    error = type("Odd", (ValueError,), {"__str__": hostile.hook("__str__")})()
    assert error_text(error) == "Odd"
    assert hostile.calls == 0
