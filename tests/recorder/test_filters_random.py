"""Any chain of trace filters decides as the law tells, which is told here a second time and plainly."""

from __future__ import annotations

import random
from pathlib import Path

from devtrace.recorder import filters

MODULES = ["shop", "shop.cart", "shop.cart.tax", "web"]
SELECTORS = ["pkg:*", "pkg:shop", "pkg:shop.*", "pkg:regex:cart", "pkg:literal:web", "obj:*.f", "obj:web.*"]
FITS = {
    "pkg:*": lambda module, _: True,
    "pkg:shop": lambda module, _: module == "shop",
    "pkg:shop.*": lambda module, _: module.startswith("shop."),
    "pkg:regex:cart": lambda module, _: "cart" in module,
    "pkg:literal:web": lambda module, _: module == "web",
    "obj:*.f": lambda _, qualname: qualname == "f",
    "obj:web.*": lambda module, _: module == "web",
}
NAMES = ["price", "pence", "total", "password"]
VALUES = {
    "*": lambda name: True,
    "p*": lambda name: name[0] == "p",
    "price": lambda name: name == "price",
    "password": lambda name: name == "password",
}


def test_any_chain_is_decided_as_the_law_tells(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for _ in range(60):
        chain = [a_filter(dice) for _ in range(dice.randint(0, 3))]
        specs = [tmp_path / f"filter{number}.toml" for number in range(len(chain))]
        for spec, one in zip(specs, chain, strict=True):
            spec.write_text(as_toml(one))
        loaded = filters.load(specs, environ={}, folder=str(tmp_path))
        for module in MODULES:
            for qualname in ("f", "g"):
                verdict = loaded.verdict("/home/ana/cart.py", module, qualname)
                expected = told(chain, module, qualname)
                answers = verdict.records, {name: verdict.action("local", name) for name in NAMES}
                assert answers == expected, (seed, chain, module, qualname)


def a_filter(dice: random.Random) -> dict:
    def a_rule() -> dict:
        return {
            "selector": dice.choice(SELECTORS),
            "exec": dice.choice(["trace", "skip", "inherit", "inherit"]),
            "value_default": dice.choice(["allow", "redact", "drop", "inherit", "inherit"]),
            "patterns": [
                (dice.choice(list(VALUES)), dice.choice(["allow", "redact", "drop"]))
                for _ in range(dice.randint(0, 3))
            ],
        }

    return {
        "default_exec": dice.choice(["trace", "skip", "inherit"]),
        "default_value_action": dice.choice(["allow", "redact", "drop", "inherit"]),
        "rules": [a_rule() for _ in range(dice.randint(0, 4))],
    }


def as_toml(one: dict) -> str:
    lines = ["[meta]", "name = 'random'", "version = 1", "[scope]"]
    lines += [f"{key} = '{one[key]}'" for key in ("default_exec", "default_value_action")]
    for rule in one["rules"]:
        lines += [
            "[[scope.rules]]",
            *(f"{key} = '{rule[key]}'" for key in ("selector", "exec", "value_default")),
        ]
        for name, action in rule["patterns"]:
            lines += ["[[scope.rules.value_patterns]]", f"selector = 'local:{name}'", f"action = '{action}'"]
    return "\n".join(lines)


def told(chain: list[dict], module: str, qualname: str) -> tuple[bool, dict[str, str]]:
    """The law once more: forwards through the chain, and backwards through the patterns."""
    traced, default, source = True, "allow", -1
    for number, one in enumerate(chain):
        traced = {"trace": True, "skip": False}.get(one["default_exec"], traced)
        if one["default_value_action"] != "inherit":
            default, source = one["default_value_action"], number
    fitting = [
        (number, each)
        for number, one in enumerate(chain)
        for each in one["rules"]
        if FITS[each["selector"]](module, qualname)
    ]
    for number, each in fitting:
        traced = {"trace": True, "skip": False}.get(each["exec"], traced)
        if each["value_default"] != "inherit":
            default, source = each["value_default"], number
    asked = [
        pattern
        for number, each in reversed(fitting)
        for pattern in each["patterns"]
        if default != "drop" or number >= source
    ]
    return traced, {name: of_value(name, asked, default) for name in NAMES}


def of_value(name: str, patterns: list[tuple[str, str]], default: str) -> str:
    is_secret = name == "password"
    for pattern, action in patterns:
        is_too_wide = is_secret and action == "allow" and pattern != "password"
        if VALUES[pattern](name) and not is_too_wide:
            return action
    return "redact" if is_secret and default == "allow" else default
