"""How often a probe may speak, how much all of them may say together, and what they may cost the program.

A clock gives nanoseconds that never go back, and is always a parameter. Everything here is a few integers
without a lock: nobody waits for anybody.

Lives here: `TokenBucket`, `ProcessLimits`, `CpuBudget`, `HitCount`, `OncePerWindow`. Not here: how much one
snapshot holds (snapshot.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Clock = Callable[[], int]

SECOND = 1_000_000_000
SNAPSHOTS_PER_SECOND = 100
LOG_BYTES_PER_SECOND = 256 << 10  # a hundred probes with ten messages a second of 256 bytes
_NEVER = 1 << 80  # nanoseconds
_MOST_DIGITS = 9  # of a number of hits
_MOST_KEYS = 32  # errors of one probe that are told apart


class TokenBucket:
    """So many a second, and so many at once after a pause. `dropped` counts what was refused.

    What is kept is when the bucket is full again: each token puts it off by the time that one takes to come.
    Between reading that moment and writing it nothing is called and nothing loops, so the GIL stays with the
    thread. Where there is no GIL two threads may get the same token, which costs less than a lock.
    """

    __slots__ = ("_clock", "_each", "_full_at", "_whole", "burst", "dropped", "rate_per_second")

    def __init__(self, rate_per_second: float, burst: float, clock: Clock):
        """A burst below 1 is 1: else nothing would ever pass."""
        self.rate_per_second = rate_per_second
        self.burst = max(1, burst)
        self.dropped = 0
        self._each = max(1, int(-(-SECOND // rate_per_second))) if rate_per_second > 0 else _NEVER
        self._whole = int(self.burst * self._each)
        self._clock = clock
        self._full_at = clock()

    def take(self, amount: int = 1) -> bool:
        """Whether so many may pass now, which are taken then; a refused one is counted."""
        return self.take_at(self._clock(), amount)

    def take_at(self, now: int, amount: int = 1) -> bool:
        """The same, for who has looked at the clock."""
        whole = self._whole
        cost = amount * self._each
        if cost > whole:
            cost = whole  # what is larger than the burst takes all of it
        full_at = self._full_at
        full_at = cost + (full_at if full_at > now else now)
        if full_at - now > whole:
            self.dropped += 1
            return False
        self._full_at = full_at
        return True

    def available(self) -> int:
        """How many whole ones could pass now."""
        lacks = max(0, self._full_at - self._clock())
        return max(0, self._whole - lacks) // self._each


class ProcessLimits:
    """What all probes of a process may say together."""

    __slots__ = ("log_bytes", "snapshots")

    def __init__(
        self,
        clock: Clock,
        snapshots_per_second: float = SNAPSHOTS_PER_SECOND,
        log_bytes_per_second: float = LOG_BYTES_PER_SECOND,
    ):
        self.snapshots = TokenBucket(snapshots_per_second, snapshots_per_second, clock)
        self.log_bytes = TokenBucket(log_bytes_per_second, 2 * log_bytes_per_second, clock)


class CpuBudget:
    """What one probe may cost: a share of the time that passes, by windows of a second.

    One window over it is forgiven, for the clock also counts while other threads run; two in a row are not,
    nor one that took ten times what it may.
    """

    __slots__ = ("_clock", "_ends", "_most", "_most_now", "_spent", "_start", "_window")

    FORGIVEN = 10

    def __init__(self, clock: Clock, share: float = 0.01, window_ns: int = SECOND):
        self._clock = clock
        self._window = window_ns
        self._most = int(share * window_ns)
        self._most_now = self._most * self.FORGIVEN
        self._start = clock()
        self._ends = self._start + window_ns
        self._spent = 0

    def spend(self, cost_ns: int) -> bool:
        """Add what a hit has cost; True: the probe costs too much, and is to be disabled."""
        return self.spend_at(self._clock(), cost_ns)

    def spend_at(self, now: int, cost_ns: int) -> bool:
        """The same, for who has looked at the clock."""
        if now >= self._ends:
            self._turn(now)
        spent = self._spent = self._spent + cost_ns
        return spent > self._most_now

    def _turn(self, now: int) -> None:
        windows = (now - self._start) // self._window
        if windows > 0:  # else another thread was here before us
            was_over = windows == 1 and self._spent > self._most
            self._most_now = self._most if was_over else self._most * self.FORGIVEN
            self._start += windows * self._window
            self._ends = self._start + self._window
            self._spent = 0


class HitCount:
    """Which of a probe's hits count: `5` and `==5` the fifth, `>5` `>=5` `<5` `<=5`, `%3` every third."""

    __slots__ = ("_number", "_sign", "text")

    def __init__(self, text: str):
        """Raises ValueError, which says what would fit."""
        plain = text.strip()
        sign = next((one for one in ("==", ">=", "<=", ">", "<", "%") if plain.startswith(one)), "")
        number = plain[len(sign) :].strip()
        if not (number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS):
            raise ValueError("a hit count is a number such as 5, ==5, >5, >=5, <5, <=5 or %3")
        if sign == "%" and int(number) == 0:
            raise ValueError("a hit count of every 0th hit would never be reached")
        self.text = plain
        self._sign = sign or "=="
        self._number = int(number)

    def counts(self, hit: int) -> bool:
        """Whether the hit of this number counts; the first is 1."""
        sign, number = self._sign, self._number
        if sign == "==":
            return hit == number
        if sign == "%":
            return hit % number == 0
        if sign == ">" or sign == ">=":
            return hit > number or (sign == ">=" and hit == number)
        return hit < number or (sign == "<=" and hit == number)


class OncePerWindow:
    """What is told when it happens first, and not again until its window has passed."""

    __slots__ = ("_clock", "_told", "_window")

    def __init__(self, clock: Clock, window_ns: int = 60 * SECOND):
        self._clock = clock
        self._window = window_ns
        self._told: dict[str, list[int]] = {}  # -> when it was told, how often it was not told since

    def tell(self, key: str) -> int | None:
        """Whether to tell it now: how often it was left out since the last time; None: not now.

        Threads that fail at the same moment may both be told to: an error too many is better than a lock.
        """
        now = self._clock()
        last = self._told.get(key)
        if last is not None and now - last[0] < self._window:
            last[1] += 1
            return None
        if last is None and len(self._told) >= _MOST_KEYS:
            self._told = {}
        self._told[key] = [now, 0]
        return 0 if last is None else last[1]
