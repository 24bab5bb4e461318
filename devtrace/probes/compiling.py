"""The one function of Python that an expression becomes, whose every operator is a reader's.

Where a value is compared with a constant and is of the constant's very type, it is compared in place: that
is what a condition does at each of a million hits.

Lives here: `Maker`. Not here: what is safe to read (reading.py, attributes.py, calls.py), the text
(spelling.py, expressions.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import ast

from devtrace.probes import calls, reading
from devtrace.probes.attributes import attribute, attribute_reader
from devtrace.probes.kinds import MISSING, MIXED_TABLES, is_sized, size_of
from devtrace.probes.patterns import Pattern
from devtrace.probes.scopes import elsewhere, getter, no_local
from devtrace.probes.spelling import BadExpression, Respelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.probes.scopes import Scope

_SIGNS: dict[type, tuple[str, str]] = {
    ast.Eq: ("==", "equal"),
    ast.NotEq: ("!=", "unequal"),
    ast.Lt: ("<", "less"),
    ast.LtE: ("<=", "less_equal"),
    ast.Gt: (">", "greater"),
    ast.GtE: (">=", "greater_equal"),
}
_READERS: dict[type, str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "modulo",
    ast.USub: "negative",
    ast.UAdd: "positive",
}
_NOT_HERE: dict[type, str] = {
    ast.Lambda: "a function",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Starred: "a star",
    ast.Await: "await",
    ast.BinOp: "that operator",
    ast.UnaryOp: "that operator",
}
_METHODS = {"startsWith": "startswith", "endsWith": "endswith"} | {name: name for name in calls.METHODS}
_CLAIMS = ("isinstance", "any", "all", "bool")


def _length(value: Any) -> Any:
    """`.length`: of a container its own, of an object whatever it has under that name."""
    return reading.length(value) if is_sized(type(value)) else attribute(value, "length")


def _set_of(values: tuple[Any, ...]) -> set[Any]:
    return set(reading.plain(values))


def _dict_of(*pairs: tuple[Any, Any]) -> dict[Any, Any]:
    return {reading.plain(key): value for key, value in pairs}


# The second line is what getter() would find out, without a call.
_FUNCTION = """
def evaluate(scope):
    known = scope.locals
    is_plain = not scope.extra and (type(known) is not dict or size_of(known) not in MIXED_TABLES)
    get = known.get if is_plain else getter(scope)
    return VALUE
"""
_FUNCTION_WITHOUT_NAMES = """
def evaluate(scope):
    return VALUE
"""
_NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "__name__": __name__,  # what is raised in it is ours (engine.py: is_ours)
    "MISSING": MISSING,
    "MIXED_TABLES": MIXED_TABLES,
    "size_of": size_of,
    **{name: getattr(reading, name) for _, name in _SIGNS.values()},
    **{name: getattr(calls, name) for name in _READERS.values()},
    **{f"call_{name}": function for name, (function, _, _) in calls.FUNCTIONS.items()},
    **{kind.__name__: kind for kind in (int, str, float, dict, type)},
    **{
        one.__name__: one
        for one in (reading.contains, reading.same, reading.truth, reading.item, reading.part)
    },
    **{one.__name__: one for one in (elsewhere, getter, no_local, calls.method)},
    "length": _length,
    "set_of": _set_of,
    "dict_of": _dict_of,
}


class Maker:
    """Makes one function. `names` and `members` are known afterwards. Raises BadExpression."""

    __slots__ = ("_count", "_namespace", "_spelled", "members", "names")

    def __init__(self, spelled: Respelled):
        self._spelled = spelled
        self._namespace = dict(_NAMESPACE)
        self._count = 0
        self.names: set[str] = set()
        self.members: set[str] = set()

    def function(self, tree: ast.expr) -> Callable[[Scope], Any]:
        value = self._made(tree)
        module = ast.parse(_FUNCTION if self.names else _FUNCTION_WITHOUT_NAMES)
        (body,) = module.body
        assert isinstance(body, ast.FunctionDef)
        body.body[-1] = ast.Return(value)
        exec(compile(ast.fix_missing_locations(module), "<expression>", "exec"), self._namespace)  # noqa: S102 - made above, of readers only
        made: Callable[[Scope], Any] = self._namespace["evaluate"]
        return made

    # --- what is made of a node ---

    def _made(self, node: ast.expr) -> ast.expr:
        make = _MAKERS.get(type(node))
        if make is None:
            raise self._bad(node)
        return make(self, node)

    def _condition(self, node: ast.expr) -> ast.expr:
        made = self._made(node)
        return made if _is_claim(node) else _call("truth", made)

    def _bad(self, node: ast.expr, message: str = "") -> BadExpression:
        what = _NOT_HERE.get(type(node), "that")
        before = self._spelled.text.encode()[: node.col_offset].decode(errors="replace")
        return BadExpression(
            message or f"{what} cannot stand in an expression", self._spelled.column(len(before))
        )

    def _name_of_value(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def _kept(self, function: Callable[[Any], Any]) -> str:
        """The name under which the function that is made finds another."""
        name = f"f{len(self._namespace)}"
        self._namespace[name] = function
        return name

    def _constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, (int, float, str, bytes, type(None))):
            return node
        raise self._bad(node)

    def _name(self, node: ast.Name) -> ast.expr:
        self._refuse_dunder(node, node.id)
        return self._variable(node.id, f"elsewhere(scope, get, {node.id!r})")

    def _variable(self, name: str, otherwise: str) -> ast.expr:
        self.names.add(name)
        value = self._name_of_value()
        return _filled(f"{value} if ({value} := get({name!r}, MISSING)) is not MISSING else {otherwise}")

    def _refuse_dunder(self, node: ast.expr, name: str) -> None:
        if name.startswith("__") and name.endswith("__"):
            raise self._bad(node, f"{name}: names with two underscores before and behind are not read")

    def _attribute(self, node: ast.Attribute) -> ast.expr:
        self._refuse_dunder(node, node.attr)
        if isinstance(node.value, ast.Name) and node.value.id == "locals":
            return self._variable(node.attr, f"no_local({node.attr!r})")
        self.members.add(node.attr)
        if node.attr == "length":
            return _call("length", self._made(node.value))
        return _call(self._kept(attribute_reader(node.attr)), self._made(node.value))

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        value, key = self._made(node.value), node.slice
        if isinstance(key, ast.Slice):
            bounds = (key.lower, key.upper, key.step)
            return _call(
                "part", value, *(ast.Constant(None) if one is None else self._made(one) for one in bounds)
            )
        self._note_key(key)
        return _call("item", value, self._made(key))

    def _note_key(self, key: ast.expr) -> None:
        if isinstance(key, ast.Constant) and isinstance(key.value, (str, bytes)):
            self.members.add(key.value if isinstance(key.value, str) else key.value.decode("latin-1"))

    def _boolean(self, node: ast.BoolOp) -> ast.expr:
        *before, made = map(self._made, node.values)
        template = (
            "LAST if truth({0} := ONE) else {0}"
            if isinstance(node.op, ast.And)
            else "{0} if truth({0} := ONE) else LAST"
        )
        for one, original in zip(reversed(before), reversed(node.values[:-1]), strict=True):
            if _is_claim(original):
                made = ast.BoolOp(node.op, [one, made])
            else:
                made = _filled(template.format(self._name_of_value()), ONE=one, LAST=made)
        return made

    def _choice(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(self._condition(node.test), self._made(node.body), self._made(node.orelse))

    def _unary(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return ast.UnaryOp(ast.Not(), self._condition(node.operand))
        if (reader := _READERS.get(type(node.op))) is None:
            raise self._bad(node)
        made = self._made(node.operand)
        if isinstance(made, ast.Constant) and isinstance(made.value, (int, float)):
            return ast.Constant(-made.value if isinstance(node.op, ast.USub) else made.value)
        return _call(reader, made)

    def _binary(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.BitOr):
            return self._word(node)
        if (reader := _READERS.get(type(node.op))) is None:
            raise self._bad(node)
        return _call(reader, self._made(node.left), self._made(node.right))

    def _word(self, node: ast.BinOp) -> ast.expr:
        """`left |word| right`, as spelling.py puts it."""
        inner = node.left
        assert isinstance(inner, ast.BinOp)
        assert isinstance(inner.right, ast.Name)
        return self._called(inner.left, inner.right.id, [node.right], node)

    def _comparison(self, node: ast.Compare) -> ast.expr:
        left, claims = self._made(node.left), []
        for number, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True), 1):
            right = again = self._made(right_node)
            if number < len(node.ops) and not isinstance(right, ast.Constant):
                name = self._name_of_value()
                right = ast.NamedExpr(ast.Name(name, ast.Store()), right)
                again = ast.Name(name, ast.Load())
            claims.append(self._claim(op, left, right))
            left = again
        return claims[0] if len(claims) == 1 else ast.BoolOp(ast.And(), claims)

    def _claim(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> ast.expr:
        if isinstance(op, (ast.In, ast.NotIn)):
            made: ast.expr = _call("contains", right, left)
        elif isinstance(op, (ast.Is, ast.IsNot)):
            made = _call("same", left, right)
        else:
            return self._compared(*_SIGNS[type(op)], left, right)
        return ast.UnaryOp(ast.Not(), made) if isinstance(op, (ast.NotIn, ast.IsNot)) else made

    def _compared(self, sign: str, reader: str, left: ast.expr, right: ast.expr) -> ast.expr:
        for one, other, form in ((right, left, "{0} {1} ONE"), (left, right, "ONE {1} {0}")):
            if isinstance(one, ast.Constant) and type(one.value) in (int, str, float):
                name = self._name_of_value()
                kind, in_place = type(one.value).__name__, form.format(name, sign)
                slowly = f"{reader}({form.format(name, ',')})"
                template = f"{in_place} if type({name} := OTHER) is {kind} else {slowly}"
                return _filled(template, ONE=one, OTHER=other)
        return _call(reader, left, right)

    # --- calls ---

    def _call(self, node: ast.Call) -> ast.expr:
        if node.keywords:
            raise self._bad(node, "arguments have no names in an expression")
        if isinstance(node.func, ast.Attribute):
            return self._called(node.func.value, node.func.attr, node.args, node)
        if not isinstance(node.func, ast.Name) or node.func.id not in calls.FUNCTIONS:
            known = ", ".join(calls.FUNCTIONS)
            raise self._bad(node, f"that cannot be called: of functions there are {known}")
        _, least, most = calls.FUNCTIONS[node.func.id]
        if not least <= len(node.args) <= most:
            raise self._bad(node, f"{node.func.id}() does not take {len(node.args)} arguments")
        return _call(f"call_{node.func.id}", *map(self._made, node.args))

    def _called(self, value: ast.expr, name: str, arguments: list[ast.expr], node: ast.expr) -> ast.expr:
        if name == "matches":
            return self._matched(value, arguments, node)
        made = [self._made(value), *map(self._made, arguments)]
        if name == "contains" and len(arguments) == 1:
            return _call("contains", *made)
        if name not in _METHODS:
            raise self._bad(
                node, f"{name}() is no method that only reads a text, bytes, a dict, a list or a tuple"
            )
        if name == "get" and arguments:
            self._note_key(arguments[0])
        return _call("method", made[0], ast.Constant(_METHODS[name]), *made[1:])

    def _matched(self, value: ast.expr, arguments: list[ast.expr], node: ast.expr) -> ast.expr:
        (pattern,) = arguments if len(arguments) == 1 else (None,)
        if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
            raise self._bad(node, "what a value matches is written out, as a text")
        try:
            matches = Pattern(pattern.value).matches
        except ValueError as error:
            raise self._bad(pattern, str(error)) from None
        return _call(self._kept(matches), self._made(value))

    # --- literals ---

    def _sequence(self, node: ast.Tuple | ast.List) -> ast.expr:
        return type(node)([self._made(one) for one in node.elts], ast.Load())

    def _set(self, node: ast.Set) -> ast.expr:
        return _call("set_of", ast.Tuple([self._made(one) for one in node.elts], ast.Load()))

    def _dict(self, node: ast.Dict) -> ast.expr:
        pairs: list[ast.expr] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self._bad(value, "a star cannot stand in an expression")
            pairs.append(ast.Tuple([self._made(key), self._made(value)], ast.Load()))
        return _call("dict_of", *pairs)


_MAKERS: dict[type, Callable[[Maker, Any], ast.expr]] = {
    ast.Constant: Maker._constant,
    ast.Name: Maker._name,
    ast.Attribute: Maker._attribute,
    ast.Subscript: Maker._subscript,
    ast.BoolOp: Maker._boolean,
    ast.IfExp: Maker._choice,
    ast.UnaryOp: Maker._unary,
    ast.BinOp: Maker._binary,
    ast.Compare: Maker._comparison,
    ast.Call: Maker._call,
    ast.Tuple: Maker._sequence,
    ast.List: Maker._sequence,
    ast.Set: Maker._set,
    ast.Dict: Maker._dict,
}


def _is_claim(node: ast.expr) -> bool:
    """Whether its value is an exact bool in any case."""
    if isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        return True
    if isinstance(node, ast.BoolOp):
        return all(map(_is_claim, node.values))
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CLAIMS


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


class _Filler(ast.NodeTransformer):
    """Puts made nodes in the place of names."""

    def __init__(self, made: dict[str, ast.expr]):
        self._made = made

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._made.get(node.id, node)


def _filled(template: str, **made: ast.expr) -> ast.expr:
    filled: ast.expr = _Filler(made).visit(ast.parse(template, mode="eval").body)
    return filled
