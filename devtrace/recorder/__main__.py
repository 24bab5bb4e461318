"""`python -m devtrace.recorder`, and the file that `devtrace record` starts in any interpreter.

Lives here: finding the package when it is not installed there, and a word to a Python that cannot be
recorded, for whose sake this file parses on every one since 2.7. All else is in launch.py, which makes this
module the program's own `__main__`: nothing of ours is left in it, on the path or in `sys.argv`.
"""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        sys.stderr.write("error: " + sys.executable + " cannot be recorded [ERR_TARGET_START]\n")
        sys.stderr.write(" hint: CPython 3.11 or newer is needed; choose one with --python\n")
        sys.exit(1)
    if not sys.flags.safe_path:
        del sys.path[0]  # this folder, or the current one: launch.py puts there what the program finds
    if not __package__:  # started by its path
        import os

        place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        sys.path.insert(0, place)
    from operator import call

    from devtrace.recorder.launch import from_command_line

    if not __package__:
        sys.path.remove(place)
        sys.path_importer_cache.pop(place, None)
    program = from_command_line()
    # No name of this module is there any more once that has begun: each is looked up before.
    with program.ending, program.catching:
        call(*program.begun())
