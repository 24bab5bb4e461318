"""What starts in every Python of a traced shell: a folder that stands first on its PYTHONPATH.

Lives here: `sitecustomize.py`, which that Python imports by itself, and the value of PYTHONPATH with this
folder in it. Not here: what is started (recorder/children.py), who sets the variable (sources/shell/hooks.py
for a traced shell, recorder/children.py for the children of a recorded program). Nothing is imported by
either: the one must be quick, and parse on Python 2.7.
"""

import os

FOLDER = os.path.dirname(os.path.abspath(__file__))


def python_path(own: str) -> str:
    """PYTHONPATH with our folder before the user's own.

    An empty entry would mean the current directory, so there is none for an empty or missing variable. What
    is there already stays where it is.
    """
    if FOLDER in own.split(os.pathsep):
        return own
    return FOLDER + os.pathsep + own if own else FOLDER
