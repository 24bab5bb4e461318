"""How often probes may speak, and what they may cost: by a clock that only the test moves."""

from __future__ import annotations

import threading

import pytest

from devtrace.probes.limits import (
    SECOND,
    CpuBudget,
    HitCount,
    OncePerWindow,
    ProcessLimits,
    TokenBucket,
)


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock():
    return Clock()


# --- token buckets ---


def test_a_burst_passes_at_once_and_what_comes_after_it_is_dropped_and_counted(clock):
    bucket = TokenBucket(5, 5, clock)

    passed = sum(bucket.take() for _ in range(2000))

    assert (passed, bucket.dropped) == (5, 1995)


def test_a_bucket_is_refilled_at_its_rate_and_not_beyond_its_burst(clock):
    bucket = TokenBucket(10, 2, clock)
    assert [bucket.take(), bucket.take(), bucket.take()] == [True, True, False]

    clock.pass_(0.099)
    assert not bucket.take()
    clock.pass_(0.001)
    assert bucket.take()
    clock.pass_(3600)
    assert [bucket.take(), bucket.take(), bucket.take()] == [True, True, False]


def test_parts_of_a_token_are_not_lost_by_asking_often(clock):
    bucket = TokenBucket(3, 1, clock)
    bucket.take()

    passed = 0
    for _ in range(1000):
        clock.now += SECOND // 1000
        passed += bucket.take()

    assert passed in (2, 3)  # 3 a second, the last of them due at its very end


def test_no_burst_is_a_burst_of_one(clock):
    assert TokenBucket(10, 0, clock).take()


def test_a_rate_of_nothing_lets_the_burst_pass_and_never_more(clock):
    bucket = TokenBucket(0, 1, clock)

    assert bucket.take()
    clock.pass_(10_000)
    assert not bucket.take()


def test_how_many_more_could_pass_is_told_without_taking_any(clock):
    bucket = TokenBucket(10, 3, clock)
    bucket.take()

    assert (bucket.available(), bucket.available()) == (2, 2)
    clock.pass_(0.1)
    assert bucket.available() == 3


def test_a_clock_that_goes_back_gives_nothing(clock):
    bucket = TokenBucket(10, 1, clock)
    bucket.take()

    clock.now -= 5 * SECOND

    assert not bucket.take()


def test_threads_take_no_token_twice_and_none_is_lost(clock):
    bucket = TokenBucket(1, 100, clock)
    passed = []

    def take():
        passed.append(sum(bucket.take() for _ in range(200)))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(passed) == 100


def test_a_token_that_is_taken_while_another_looks_at_the_clock_is_not_taken_twice():
    inner = []

    def clock():
        if bucket is not None and not inner:
            inner.append(None)
            inner.append(bucket.take())
        return 0

    bucket = None
    bucket = TokenBucket(1, 1, clock)

    assert not bucket.take()
    assert inner == [None, True]
    assert bucket.dropped == 1


@pytest.mark.parametrize("rate", [0.001, 3, 7.5, 700_000, 1e12])
def test_in_a_long_time_no_more_pass_than_the_rate_allows(clock, rate):
    bucket = TokenBucket(rate, 1, clock)
    step = max(1, int(SECOND / rate) // 3)

    passed = 0
    for _ in range(3000):
        clock.now += step
        passed += bucket.take()

    assert 700 <= passed <= 1 + 3000 * min(1, step * rate / SECOND)


def test_all_probes_share_the_snapshots_of_a_second(clock):
    limits = ProcessLimits(clock, snapshots_per_second=3)

    assert [limits.snapshots.take() for _ in range(4)] == [True, True, True, False]
    clock.pass_(1)
    assert limits.snapshots.take()


def test_all_probes_share_the_bytes_of_their_messages(clock):
    limits = ProcessLimits(clock, log_bytes_per_second=100)

    assert [limits.log_bytes.take(90), limits.log_bytes.take(90), limits.log_bytes.take(90)] == [
        True,
        True,
        False,
    ]
    assert limits.log_bytes.take(20)
    clock.pass_(1)
    assert limits.log_bytes.take(100)


def test_a_message_larger_than_all_that_may_be_said_takes_all_of_it(clock):
    limits = ProcessLimits(clock, log_bytes_per_second=100)

    assert limits.log_bytes.take(10_000)
    assert not limits.log_bytes.take(1)


# --- what a probe costs ---


def test_a_probe_that_costs_its_share_goes_on(clock):
    budget = CpuBudget(clock)

    for _ in range(300):
        assert not budget.spend(SECOND // 1000)
        clock.pass_(0.1)


def test_a_probe_that_costs_too_much_in_two_seconds_in_a_row_is_stopped(clock):
    budget = CpuBudget(clock)

    assert not budget.spend(SECOND // 50)
    clock.pass_(1)
    assert not budget.spend(SECOND // 200)
    assert budget.spend(SECOND // 100)


def test_one_slow_second_is_forgiven(clock):
    budget = CpuBudget(clock)

    for _ in range(5):
        assert not budget.spend(SECOND // 50)
        clock.pass_(2)


def test_a_probe_that_takes_ten_times_its_share_is_stopped_at_once(clock):
    assert CpuBudget(clock).spend(SECOND // 9)
    assert not CpuBudget(clock).spend(SECOND // 11)


# --- hit counts ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [5]),
        ("==5", [5]),
        (">5", [6, 7, 8, 9]),
        (">=5", [5, 6, 7, 8, 9]),
        ("<5", [1, 2, 3, 4]),
        ("<=5", [1, 2, 3, 4, 5]),
        ("%3", [3, 6, 9]),
        (" >=  8 ", [8, 9]),
        ("==0", []),
    ],
)
def test_a_hit_count_says_which_hits_count(text, expected):
    count = HitCount(text)

    assert [hit for hit in range(1, 10) if count.counts(hit)] == expected


@pytest.mark.parametrize("text", ["", "x", "=5", "!=5", "5.0", "-5", "+5", "> 5 6", "%", "٣", "9" * 10, "5%"])
def test_what_is_no_hit_count_is_refused_with_what_would_fit(text):
    with pytest.raises(ValueError, match="such as 5, ==5"):
        HitCount(text)


def test_every_0th_hit_is_refused():
    with pytest.raises(ValueError, match="never be reached"):
        HitCount("%0")


def test_a_hit_count_is_told_as_it_was_set():
    assert HitCount(" >= 5 ").text == ">= 5"


# --- errors that come often ---


def test_a_failing_condition_is_told_once_and_again_after_its_window(clock):
    errors = OncePerWindow(clock)

    assert [errors.tell("NameError") for _ in range(100)] == [0, *[None] * 99]
    clock.pass_(60)
    assert errors.tell("NameError") == 99
    assert errors.tell("NameError") is None


def test_another_error_is_told_though_one_was(clock):
    errors = OncePerWindow(clock)

    assert (errors.tell("NameError"), errors.tell("ZeroDivisionError")) == (0, 0)


def test_of_errors_without_end_only_the_last_are_remembered(clock):
    errors = OncePerWindow(clock)

    told = [errors.tell(f"KeyError: {number}") for number in range(1000)]

    assert told == [0] * 1000
    assert errors.tell("KeyError: 0") == 0  # forgotten since
