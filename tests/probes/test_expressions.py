"""Expressions: the documented spellings, Python's own answers, where names are sought, what is refused."""

from __future__ import annotations

import enum
import itertools
import math
import sys
import warnings

import pytest

from devtrace.probes.expressions import BadExpression, Expression, FrameScope, parse
from devtrace.probes.reading import Unsafe
from tests.probes import hostile
from tests.probes.scopes import Names, outcome, value

VALUES = [
    0,
    1,
    -3,
    True,
    None,
    2.5,
    "a",
    "abc",
    b"a",
    [1, 2],
    (1, "a"),
    (),
    {"a": 1},
    {1: 2},
    {1, 2},
    range(3),
]
LIKE_PYTHON = [
    *("a == b", "a != b", "a < b", "a >= b", "a in b", "a not in b", "a is b", "a is not None", "1 < a < b"),
    *("a + b", "a - b", "a * b", "a / b", "a // b", "-a", "+a", "a == 'a'", "3 > a", "a <= 2.5", "a != 1"),
    *("a and b", "a or b", "not a", "a and not b or 3", "a if b else 3", "a[b]", "a[1:]", "a[:b]", "a[0]"),
    *("len(a)", "min(a, b)", "max(a)", "sum(a)", "any(a)", "all(a)", "abs(a)", "str(a)", "repr(a)", "int(a)"),
    *("float(a)", "bool(a)", "isinstance(a, int)", "isinstance(a, (str, list))", "isinstance(a, b)"),
    *(
        "a.count(b)",
        "a.get(b)",
        "a.startswith(b)",
        "a.upper()",
        "a.nope",
        "a.real",
        "a.keys",
        "type(a) is int",
    ),
    *("{a: b}", "{a, b}", "[a, b] == [b, a]", "(a, b) < (b, a)", "a in (1, 'a')", "a > 1 and b == 'a'"),
]


def python(text, names):
    return eval(text, dict(names))


def ours(text, names):
    return parse(text).evaluate(Names(dict(names)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", LIKE_PYTHON)
def test_builtin_values_give_what_python_gives(text):
    expression = parse(text)
    for one, other in itertools.product(VALUES, VALUES):
        names = {"a": one, "b": other}
        expected = outcome(python, text, names)
        if text == "a.keys":
            expected = expected if expected[0] != "value" else ("Unsafe", "keys is a method of dict")
        if text == "a - b" and set in map(type, (one, other)):
            expected = "Unsafe", "sets are not computed with"
        if text == "sum(a)" and one in ((1, "a"), {"a": 1}, "a", "abc"):
            expected = "Unsafe", "sum() adds numbers only"

        assert outcome(expression.evaluate, Names(names)) == expected, names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i > 3 && s == 'abc'", True),
        ("i > 3 || missing", True),
        ("!(i > 3)", False),
        ("!b", True),
        ("i != 5 AND b", False),
        ("b OR i == 5", True),
        ("NOT b", True),
        ("true", True),
        ("b == false", True),
        ("n is null", True),
        ("n == null", True),
        ("${i} == 5", True),
        ("${user.id} > 3", True),
        ("${ user . id }", 7),
        ("s contains 'bc'", True),
        ("!(s contains 'x') && i == 5", True),
        ("s contains 'b' + 'c' && true", True),
        ("items contains 2", True),
        ("table contains 'k'", True),
        ("s.contains('bc')", True),
        ("items.contains(9)", False),
        ("s startsWith 'ab'", True),
        ("s.startsWith('b')", False),
        ("s endsWith 'bc'", True),
        ("s.endsWith('bc')", True),
        ("s.startswith(('x', 'a'))", True),
        (r"s matches '^a\w+$'", True),
        ("s.matches('x')", False),
        ("s.length", 3),
        ("items.length > 1 && table.length == 1", True),
        ("user.length", 99),
        ("table['k'].length", 1),
        ("'a && b' == \"a && b\"", True),
        ("'${x} ! true'", "${x} ! true"),
        ("locals.i + 1", 6),
        ("i % 5 == 0", True),
        ("i  >\n 3", True),
        ("-1", -1),
        ("[1, 'x', None, true]", [1, "x", None, True]),
        ("contains + 1", 2),
        ("user.matches", 3),
        ("user.null", 5),
        ("r'\\d'", "\\d"),
        ("'\\d\\n'", "\\d\n"),
        ("1 < i <= 5 < 6", True),
    ],
)
def test_each_spelling_is_understood(text, expected):
    class User:
        id = 7
        length = 99
        matches = 3
        null = 5

    names = {"i": 5, "s": "abc", "b": False, "n": None, "items": [1, 2], "table": {"k": "v"}, "contains": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one of ours would be seen on the program's stderr
        found = value(text, user=User(), **names)

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("   ", 1),
        ("a >", 3),
        ("a b", 3),
        ("(a", 1),
        ("a = 3", 3),
        ("a & 3", 3),
        ("a | b", 3),
        ("é && a ; b", 8),
        ("a && 'abc", 6),
        ("a && lambda: 1", 6),
        ("[x for x in y]", 1),
        ("(x := 3)", 4),
        ("f'{x}'", 1),
        ("a ** 2", 3),
        ("~a", 1),
        ("a @ b", 3),
        ("a << 2", 3),
        ("foo(1)", 1),
        ("a && eval('1')", 6),
        ("a.save()", 1),
        ("'%s'.format(a)", 1),
        ("a.__class__", 1),
        ("__import__('os')", 1),
        ("a and __name__", 7),
        ("len(a, b)", 1),
        ("len()", 1),
        ("max(a, key=b)", 11),
        ("max(*a)", 5),
        ("{**a}", 2),
        ("a matches b", 1),
        ("a && a matches '(x+)+'", 16),
        ("a matches '('", 11),
        ("${1x}", 1),
        ("1and 2", 1),
        ("a is 3j", 6),
        ("...", 1),
        ("yield", 1),
        ("await a", 1),
        ("a\0", 2),
        ("import os", 1),
        ("a; b", 2),
    ],
)
def test_what_is_no_expression_is_refused_where_it_fails(text, column):
    with pytest.raises(BadExpression) as refused:
        parse(text)

    assert refused.value.column == column
    assert refused.value.message == str(refused.value) != ""


@pytest.mark.parametrize(
    "text",
    [
        "+".join("a" * 101),
        "(" * 300 + "a" + ")" * 300,
        "not " * 250 + "a",
        "a" + ".b" * 250,
        "[" * 500,
        "-" * 3_999 + "1",
        "a" * 4_001,
    ],
)
def test_an_expression_that_is_too_large_is_refused(text):
    with pytest.raises(BadExpression):
        parse(text)


@pytest.mark.parametrize(
    "text", ["+".join("a" * 100), "a" + " and a" * 190, "not " * 150 + "a", "-" * 150 + "a"]
)
def test_a_large_expression_is_taken(text):
    assert value(text, a=1) == eval(text, {"a": 1})


def test_an_expression_tells_which_names_it_reads():
    expression = parse(
        "a > 3 and user.password['key'] == locals.b or ${c.d} in t.get('secret') and len(x) == null"
    )

    assert expression.names == {"a", "user", "b", "c", "t", "x"}
    assert expression.members == {"password", "key", "d", "secret"}
    assert repr(parse("a")) == "Expression('a')"
    assert isinstance(expression, Expression)


def test_only_the_side_that_is_needed_is_read():
    assert value("false and missing") is False
    assert value("1 or missing") == 1
    assert value("2 if true else missing") == 2
    with pytest.raises(NameError, match="name 'missing' is not defined"):
        value("true and missing")


def test_a_value_that_is_needed_twice_is_computed_once():
    reads = []

    class Counting(Names):
        locals = property(lambda self: self.known, lambda self, known: setattr(self, "known", known))
        globals = property(lambda self: reads.append(1) or {"a": 0}, lambda self, _: None)

    assert parse("a and 1").evaluate(Counting({})) == 0
    assert parse("-1 < a < 1").evaluate(Counting({})) is True
    assert reads == [1, 1]


HOSTILE = [
    *(
        "v",
        "v == 1",
        "v == w",
        "v != v",
        "v < 3",
        "3 > v",
        "1 < v < 2",
        "v is None",
        "v in [1, w]",
        "w in (v, 1)",
    ),
    *("v in {1}", "1 in v", "'id' in v", "v in 'id'", "v['id']", "v[0]", "v[w]", "[1][v]", "{'id': 1}[v]"),
    *("[1][v:]", "v[:1]", "v.id", "v.name", "v.value", "v.balance", "v.length", "v.args", "v.nope", "v.real"),
    *("not v", "v and 1", "v or 1", "1 if v else 2", "v + 1", "1 + v", "v * 2", "2 * v", "v - w", "v / 2"),
    *("2 // v", "v % 2", "'%s' % v", "-v", "+v", "[v] + [w]", "[v] * 2 == [w] * 2", "{v: 1}", "{v, w}"),
    *(
        "{'a': v} == {'a': w}",
        "(1, v) < (1, w)",
        "len(v)",
        "abs(v)",
        "min(v)",
        "max(v, 3)",
        "sum(v)",
        "sum([v])",
    ),
    *("any(v)", "any([v])", "all(v)", "isinstance(v, int)", "isinstance(3, v)", "isinstance(v, w)"),
    *("isinstance(3, (str, v))", "type(v) is int", "type(v) == type(w)", "type(v) in (int, str)", "str(v)"),
    *("str([v])", "repr(v)", "int(v)", "float(v)", "bool(v)", "v.get('id')", "{'id': 1}.get(v)", "v.keys()"),
    *("v.values()", "v.count(w)", "[v].count(w)", "[w].index(v)", "v.startswith('a')", "'a'.startswith(v)"),
    *("'a'.split(v)", "v matches 'a'", "v contains w", "'a' contains v", "v startsWith 'a'", "v.contains(1)"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hook_of_any_value_is_called(text):
    values, expression = hostile.values(), parse(text)
    answered, refused = 0, []

    for number, one in enumerate(values):
        try:
            expression.evaluate(Names({"v": one, "w": values[number - 1]}))
            answered += 1
        except (Unsafe, TypeError, AttributeError, LookupError, ValueError) as error:
            refused.append(str(error))

    assert (hostile.calls, hostile.asked) == (0, [])
    assert answered + len(refused) == len(values)


def test_names_of_the_program_that_pretend_to_be_others_are_not_asked():
    odd, scope = {hostile.TextKey("c"): 1}, Names({hostile.TextKey("a"): 1, "b": 2})
    hostile.values()

    assert parse("b").evaluate(scope) == 2
    with pytest.raises(NameError):
        parse("a").evaluate(scope)
    scope.globals = odd
    with pytest.raises(NameError):
        parse("c").evaluate(scope)
    assert hostile.calls == 0


# --- frames ---

GLOBAL = "global"
shadowed = "global"


class Holder:
    def __init__(self):
        self.id = 7

    def method(self, first, *rest, option=3, **more):
        local = first  # noqa: F841 - read from the frame
        return FrameScope(sys._getframe())


def test_a_frame_gives_its_arguments_its_self_and_its_names():
    scope = Holder().method(1, 2, 3, x=4)

    def read(text):
        return parse(text).evaluate(scope)

    assert read("args[1:]") == (1, 2, 3)
    assert read("args[0].id == this.id == self.id == 7")
    assert read("local + option + rest[0] + more['x']") == 10
    assert read("locals.first") == read("locals['first']") == 1
    assert read("GLOBAL") == "global"
    assert read("isinstance(self, Holder)")
    assert read("isinstance(args, tuple) and type(first) is int")
    for text, error in (("missing", NameError), ("locals.GLOBAL", NameError), ("len", NameError)):
        with pytest.raises(error):
            read(text)


def test_a_local_without_a_value_is_not_the_global_of_its_name():
    def function():
        scope = FrameScope(sys._getframe())
        with pytest.raises(UnboundLocalError):
            parse("shadowed").evaluate(scope)
        shadowed = "local"
        assert parse("shadowed").evaluate(FrameScope(sys._getframe())) == shadowed

    function()


def test_a_closure_brings_its_names():
    outer = 5

    def function():
        assert outer
        return parse("outer").evaluate(FrameScope(sys._getframe()))

    assert function() == 5


def test_a_deleted_argument_leaves_a_gap_that_is_told():
    def function(first, second):
        del first
        return FrameScope(sys._getframe())

    scope = function(1, 2)
    assert parse("second").evaluate(scope) == 2
    with pytest.raises(Unsafe, match="first was deleted"):
        parse("args[1]").evaluate(scope)


def test_an_argument_of_that_name_is_no_list_of_all():
    def function(first, *args):
        return FrameScope(sys._getframe())

    assert parse("args").evaluate(function(1, 2)) == (2,)


def test_extra_names_win_over_those_of_the_frame():
    def function(duration_ms):
        return FrameScope(sys._getframe(), {"duration_ms": 2.5, "return_value": None})

    scope = function(1)
    assert parse("duration_ms > 2 and return_value is None and GLOBAL == 'global'").evaluate(scope)


def test_the_names_of_a_class_body_are_read():
    class Body(enum.Enum):
        ONE = 1
        scope = FrameScope(sys._getframe())
        found = parse("ONE + 1").evaluate(scope)

    assert Body.found.value == 2


def test_names_that_the_program_keeps_in_an_object_of_its_own_are_refused():
    class Mapping:
        __getitem__ = hostile.hook("__getitem__")
        get = hostile.hook("get")

        def __setitem__(self, name, value):
            pass

    hostile.values()

    def body(names):
        return FrameScope(type("Frame", (), {"f_locals": names, "f_globals": {}})())

    for text in ("a", "a > 3", "args", "locals", "locals.a"):
        with pytest.raises(Unsafe, match="kept in a"):
            parse(text).evaluate(body(Mapping()))
    assert parse("1 + 2").evaluate(body(Mapping())) == 3
    assert hostile.calls == 0


def test_locals_are_not_read_for_an_expression_without_names():
    class Dear(Names):
        @property
        def locals(self):
            raise AssertionError

        @locals.setter
        def locals(self, _):
            pass

    assert parse("1 + 2 * 3 == 7 && 'a' contains 'a'").evaluate(Dear({})) is True


def test_a_comparison_with_a_constant_makes_no_call():
    evaluate = parse('a > 3 and b == "x" and 2.5 < c').evaluate
    called = []
    scope = Names({"a": 5, "b": "x", "c": 3.0})

    sys.setprofile(lambda frame, event, what: called.append((event, frame.f_code.co_name)))
    try:
        evaluate(scope)
    finally:
        sys.setprofile(None)

    assert {name for event, name in called if event == "call"} == {"evaluate"}


def test_not_a_number_is_what_it_is():
    assert value("a == a", a=math.nan) is False
    assert value("[a] == [a]", a=math.nan) is True
