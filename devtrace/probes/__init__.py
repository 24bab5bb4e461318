"""Live tracepoints and logpoints in a running Python program.

    import devtrace.probes
    devtrace.probes.start()          # HTTP on 127.0.0.1:5001, and whatever is set with `devtrace probe add`

A Python of a traced shell needs none of it: it can be asked as it is.

Lives here: `start` and `stop`. Standard library only: a guest imports this.
"""

from devtrace import __version__ as __version__
from devtrace.probes.api import start as start
from devtrace.probes.api import stop as stop
