"""The record of a Python program: what the recorder writes and every reader reads.

Lives here: the mapped files (segments.py), the records in them (records.py).
Not here: who writes them (recorder/), what becomes of them (store/traces.py). Standard library only: guests
import this.
"""
