"""Checkpoints: states of a working tree, as Git objects of our own in `.devtrace/objects.git`.

objects.py the repository and its one writer · tree.py the next tree from the last one · chains.py one line of
commits per working tree · tidy.py packing, caps, and forgetting what is old.

Not here: reading a working tree (sources/worktree.py), what may be kept of a file (policy/contents.py), when
a checkpoint is made and what it tells (services/edits/).
"""
