"""Imported by every Python of a traced shell as it starts: hands on, lets it be asked, records it if asked.

Lives here: leaving no trace, the next `sitecustomize` of the path, and the questions what DEVTRACE_RECORD and
DEVTRACE_PROBES ask for. Not here: the recorder's start (devtrace/recorder/children.py), what makes a program
one that can be asked (reach.py).

Any Python from 2.7 on imports this, so it is written for all of them. Where there is no other
`sitecustomize` it ends with the ImportError that `site` expects then: nothing is left in sys.modules.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # noqa: F401 - in a comment, as Python 2 can read it

_FOLDER = os.path.dirname(__file__)
_SELF = sys.modules.pop("sitecustomize", None)  # Python 2 empties a module that nobody holds any more


def _leave_path(folder):  # type: (str) -> None
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)


def _is_fit():  # type: () -> bool
    return sys.version_info >= (3, 11) and sys.implementation.name == "cpython"


def _is_off(name):  # type: (str) -> bool
    return os.environ.get(name, "").strip().lower() in ("0", "f", "false", "n", "no", "off", "none")


def _is_asked():  # type: () -> bool
    return bool(os.environ.get("DEVTRACE_RECORD", "").strip()) and not _is_off("DEVTRACE_RECORD")


def _reach():  # type: () -> None
    """By its path, and under no name in sys.modules."""
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import spec_from_file_location

    spec = spec_from_file_location("_devtrace_reach", os.path.join(_FOLDER, "reach.py"))  # type: Any
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception:  # a guest is silent: half an installation is no reason to disturb
        return
    module.begin()


def _start():  # type: () -> None
    place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, place)
    try:
        from devtrace.recorder.children import begin
    except Exception:  # a guest is silent: half an installation is no reason to disturb
        return
    finally:
        sys.path.remove(place)
        sys.path_importer_cache.pop(place, None)
    begin()


if __name__ == "sitecustomize":
    _leave_path(_FOLDER)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401 - the next one on the path
    finally:
        if _is_fit():
            if os.environ.get("DEVTRACE_DIR") and not _is_off("DEVTRACE_PROBES"):
                _reach()
            if _is_asked():
                _start()
