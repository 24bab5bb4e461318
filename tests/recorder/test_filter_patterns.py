"""Selectors: kinds, ways to match, globs."""

from __future__ import annotations

import random
import warnings
from fnmatch import fnmatchcase

import pytest

from devtrace.recorder.filter_patterns import SCOPE_KINDS, VALUE_KINDS, parsed

KINDS = (*SCOPE_KINDS, *VALUE_KINDS)


def fits(text: str, name: str) -> bool:
    return bool(parsed(text, KINDS).fits(name))


@pytest.mark.parametrize("kind", ["pkg", "file", "obj", "local", "global", "arg", "ret", "attr"])
def test_every_documented_kind_is_known(kind: str) -> None:
    assert parsed(f"{kind}:shop", KINDS).kind == kind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pkg:shop.*", "shop.cart"),
        ("pkg:shop.*", "shop.cart.prices"),
        ("pkg:glob:shop.*", "shop.cart"),
        ("pkg:regex:art$", "shop.cart"),
        ("pkg:literal:shop.*", "shop.*"),
        ("obj:regex:^app::[A-Z]", "app::Main"),  # all behind the second colon is the pattern
        ("local:user_?", "user_1"),
        ("local:[a-c]x", "bx"),
        ("local:[!a-c]x", "dx"),
        ("local:[^a-c]x", "dx"),
        ("local:[]]", "]"),
        ("local:[[a]", "["),
        (r"local:\*", "*"),
        ("local:{user,order}_id", "order_id"),
        ("local:a{b,c{d,e}}f", "acef"),
        ("local:a,b}", "a,b}"),
        ("attr:*", "a/b\nc"),
        ("file:src/*.py", "src/cart.py"),
        ("file:./src/*.py", "src/cart.py"),
        ("file:literal:./src/cart.py", "src/cart.py"),
        ("file:src/**/*.py", "src/cart.py"),
        ("file:src/**/*.py", "src/a/b/cart.py"),
        ("file:**/cart.py", "cart.py"),
        ("file:**/cart.py", "src/shop/cart.py"),
        ("file:src/**", "src/a/b.py"),
    ],
)
def test_a_name_fits(text: str, name: str) -> None:
    assert fits(text, name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pkg:shop.*", "shop"),
        ("pkg:shop", "shop.cart"),
        ("pkg:shop.*", "workshop.cart"),
        ("pkg:regex:^art", "shop.cart"),
        ("pkg:literal:shop.*", "shop.cart"),
        ("local:user", "User"),
        ("local:user_?", "user_12"),
        ("local:[a-c]x", "dx"),
        ("local:[!a-c]x", "ax"),
        (r"local:\*", "user"),
        ("file:src/*.py", "src/shop/cart.py"),
        ("file:src?cart.py", "src/cart.py"),
        ("file:src[!a]cart.py", "src/cart.py"),
        ("file:**/cart.py", "shopcart.py"),
        ("file:a**/b", "ab"),
        ("file:src/**", "src"),
    ],
)
def test_another_name_does_not(text: str, name: str) -> None:
    assert not fits(text, name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no selector"),
        ("shop", "is no selector"),
        ("package:shop", "no kind 'package' here: use pkg, file or obj"),
        ("local:shop", "no kind 'local' here"),
        ("pkg:", "has no pattern"),
        ("pkg:glob:", "has no pattern"),
        ("pkg:fuzzy:shop", "use glob, regex or literal"),
        ("pkg::shop", "use glob, regex or literal"),
        ("pkg:regex:(", "is no regex"),
        ("pkg:{a", "a { is not closed"),
        ("pkg:[a", "a [ is not closed"),
        ("pkg:[z-a]", "is no glob"),
    ],
)
def test_what_is_no_selector_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parsed(text, SCOPE_KINDS)

    assert complaint in str(refused.value)


def test_a_doubtful_pattern_does_not_warn_the_program() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert fits("local:regex:[[a]--b]", "[--b]")
        assert fits("local:[[&&c||d~~]", "[")


def test_globs_of_names_mean_what_those_of_a_shell_mean() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for _ in range(3000):
        glob = "".join(dice.choices(["a", "b", ".", "_", "*", "?", "[ab]", "[!a]"], k=dice.randint(1, 6)))
        name = "".join(dice.choices("ab._", k=dice.randint(0, 6)))

        assert fits(f"local:{glob}", name) == fnmatchcase(name, glob), (seed, glob, name)
