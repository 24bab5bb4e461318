"""Imported by every Python of a traced shell as it starts: hands on, and starts the recorder if asked.

Lives here: leaving no trace, the next `sitecustomize` of the path, and the question whether DEVTRACE_RECORD
asks for anything. Not here: the recorder's start (devtrace/recorder/children.py).

Any Python from 2.7 on imports this, so it is written for all of them. Where there is no other
`sitecustomize` it ends with the ImportError that `site` expects then: nothing is left in sys.modules.
"""

import os
import sys

_FOLDER = os.path.dirname(__file__)
_SELF = sys.modules.pop("sitecustomize", None)  # Python 2 empties a module that nobody holds any more


def _leave_path(folder):  # type: (str) -> None
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)


def _is_asked():  # type: () -> bool
    word = os.environ.get("DEVTRACE_RECORD", "").strip().lower()
    if word in ("", "0", "f", "false", "n", "no", "off", "none") or sys.version_info < (3, 11):
        return False
    return sys.implementation.name == "cpython"


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
        if _is_asked():
            _start()
