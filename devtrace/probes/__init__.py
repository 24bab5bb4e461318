"""Live tracepoints and logpoints in a running Python program.

Lives here: nothing yet that a program calls; the parts are modules of their own. Standard library only: a
guest imports this.
"""
