"""`--only`, and what a module is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtrace.recorder.filter_scopes import Only, Scope, modules_of

HERE = "/home/ana/shop"


def scope(path: str = "cart.py", module: str = "shop.cart", qualname: str = "total") -> Scope:
    return Scope(path if path.startswith("/") else f"{HERE}/shop/{path}", (module,), qualname)


@pytest.mark.parametrize(
    ("only", "code"),
    [
        ("shop.cart", scope()),
        ("shop", scope()),
        ("shop.cart", scope(qualname="<module>")),
        ("shop.cart", scope(module="shop.cart.prices")),
        ("shop.cart.Cart", scope(qualname="Cart.total")),
        ("shop.*", scope()),
        ("shop.cart:total", scope()),
        ("shop.cart:total", scope(qualname="total.<locals>.<lambda>")),
        ("shop.cart:Cart", scope(qualname="Cart.total")),
        ("shop.cart:Cart.total", scope(qualname="Cart.total")),
        ("shop.cart:total.inner", scope(qualname="total.<locals>.inner")),
        ("shop.cart:t*", scope()),
        ("shop.*:total", scope()),
        ("cart.py", scope()),
        ("cart.py:total", scope()),
        ("shop/cart.py:total", scope()),
        ("./shop/cart.py", scope()),
        (f"{HERE}/shop/cart.py", scope()),
        (f"{HERE}/shop", scope()),
        ("shop/", scope()),
        ("shop/*.py", scope()),
        ("*.py", scope()),
    ],
)
def test_only_names_it(only: str, code: Scope) -> None:
    assert Only(only, HERE).fits(code)


@pytest.mark.parametrize(
    ("only", "code"),
    [
        ("shop.car", scope()),
        ("hop.cart", scope()),
        ("shop.cart.prices", scope()),
        ("shop:total", scope()),
        ("shop.cart:total", scope(qualname="totals")),
        ("shop.cart:total", scope(qualname="Cart.total")),
        ("shop.cart:total", scope(qualname="<module>")),
        ("shop.cart:total", scope(module="shop.other")),
        ("art.py", scope()),
        ("cart.py:other", scope()),
        ("./cart.py", scope()),
        (f"{HERE}/sho", scope()),
        ("other/", scope()),
        ("other/*.py", scope()),
    ],
)
def test_only_leaves_out_all_else(only: str, code: Scope) -> None:
    assert not Only(only, HERE).fits(code)


def test_a_file_that_is_there_is_that_file_and_no_other_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "cart.py").touch()
    only = Only("cart.py", str(tmp_path))

    assert only.fits(scope(f"{tmp_path}/cart.py"))
    assert not only.fits(scope(f"{tmp_path}/old/cart.py"))


@pytest.mark.parametrize("text", ["", " ", ":total", "shop.cart:", "a:b:c", "shop.[a", "shop:{a"])
def test_only_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no code|is no glob"):
        Only(text, HERE)


def test_the_main_program_has_the_names_of_its_file_too(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()

    names = modules_of(f"{package}/cart.py", "__main__", str(tmp_path))

    assert names == ("__main__", "shop.cart", "src.shop.cart")
    assert modules_of(f"{package}/__main__.py", "__main__", str(tmp_path))[1] == "shop"
    assert modules_of(f"{tmp_path}/my-script.py", None, str(tmp_path)) == ("my-script",)
    assert modules_of("<string>", "__main__", str(tmp_path)) == ("__main__",)


def test_any_other_module_has_the_name_that_it_gives_itself(tmp_path: Path) -> None:
    assert modules_of(f"{tmp_path}/cart.py", "shop.cart", str(tmp_path)) == ("shop.cart",)
