"""Some code as filters see it, by file, module and name; and `--only`, which names the code to record.

    --only shop.cart              a module with all that stands in it, or a package with its modules
    --only shop.cart:total        a function, or a class with its methods, and what is defined in them
    --only shop/cart.py:total     the same by its file: from here, or the end of a path
    --only 'shop.*:test_*'        globs

Lives here: those two. Not here: selectors of files (filter_patterns.py), the decision (filters.py).
Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from devtrace.recorder.filter_patterns import glob_fits, is_wild


class Scope:
    """A code object. `modules`: the names of its module; the main program has the one of its file too."""

    __slots__ = ("modules", "objects", "path", "qualname")

    def __init__(self, path: str, modules: tuple[str, ...], qualname: str):
        self.path = path
        self.modules = modules
        self.qualname = qualname
        self.objects = [f"{module}.{qualname}" for module in modules]  # `shop.cart.Cart.total`


class Only:
    """One `--only`: a ValueError for what is none. `is_named`: it spells a module or file, and is no glob."""

    __slots__ = ("_fits_function", "_fits_place", "is_named", "text")

    def __init__(self, text: str, folder: str):
        place, colon, function = text.strip().partition(":")
        if not place or (colon and not function) or ":" in function:
            raise ValueError(f"{text!r} names no code: write MODULE, MODULE:FUNCTION or FILE.py:FUNCTION")
        self.text = text
        self.is_named = not is_wild(place)
        try:
            self._fits_place = (
                _file(place, folder) if "/" in place or place.endswith(".py") else _module(place, bool(colon))
            )
            self._fits_function = _function(function) if colon else None
        except re.error as error:
            raise ValueError(f"{text!r} is no glob: {error}") from error

    def fits(self, scope: Scope) -> bool:
        """Whether it names that code."""
        if self._fits_function is not None and not self._fits_function(scope.qualname):
            return False
        return self._fits_place(scope)


def modules_of(path: str, module: str | None, root: str) -> tuple[str, ...]:
    """The names of a module: its own, and for the main program those of its file."""
    if module and module != "__main__":
        return (module,)
    names = [module] if module else []
    if path.endswith(".py") and path.startswith("/"):
        names += [_package_name(Path(path)), *_name_below(path, root)]
    return tuple(dict.fromkeys(names))


def _package_name(file: Path) -> str:
    """What it is imported by: `shop.cart`, going up as long as there is an `__init__.py`."""
    parts = [] if file.stem in ("__init__", "__main__") else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) or file.stem


def _name_below(path: str, root: str) -> list[str]:
    """What it is imported by from the project's root, where that is a name at all."""
    prefix = root.rstrip("/") + "/"
    parts = path.removeprefix(prefix).removesuffix(".py").removesuffix("/__init__").split("/")
    return [".".join(parts)] if path.startswith(prefix) and all(part.isidentifier() for part in parts) else []


def _module(place: str, is_exact: bool) -> Callable[[Scope], bool]:
    if is_wild(place):
        fits = glob_fits(place, has_folders=False)
        return lambda scope: any(fits(module) for module in scope.modules)
    if is_exact:
        return lambda scope: place in scope.modules
    return lambda scope: any(name.startswith(f"{place}.") for name in scope.objects)


def _file(place: str, folder: str) -> Callable[[Scope], bool]:
    here = os.path.normpath(Path(folder, Path(place).expanduser()))
    if is_wild(place):
        fits = glob_fits(
            here if place.startswith("/") else f"**/{place.removeprefix('./')}", has_folders=True
        )
        return lambda scope: bool(fits(scope.path))
    if Path(here).exists() or place.startswith(("/", "~", ".")):
        return lambda scope: f"{scope.path}/".startswith(f"{here}/")
    end = "/" + place.strip("/")
    return lambda scope: scope.path.endswith(end) or f"{end}/" in scope.path


def _function(function: str) -> Callable[[str], bool]:
    if is_wild(function):
        fits = glob_fits(function, has_folders=False)
        return lambda qualname: any(fits(name) for name in _spellings(qualname))
    return lambda qualname: any(f"{name}.".startswith(f"{function}.") for name in _spellings(qualname))


def _spellings(qualname: str) -> tuple[str, str]:
    """`outer.<locals>.inner`, and as one would type it."""
    return qualname, qualname.replace(".<locals>", "")
