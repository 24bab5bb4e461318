"""What changed in the working tree, and by whom: the order that makes checkpoints and tells of them.

checkpoint.py one checkpoint: what differs, what may be kept, the commit · attribution.py whose change it was
· others.py what other sessions ran · tracker.py the thread beside a session that notices and asks the rest.

Not here: reading the tree and noticing changes (sources/), objects and commits (store/checkpoints/).
"""
