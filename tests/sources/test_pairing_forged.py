"""From records to events in any order, and nobody's word against the nonce."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from devtrace.events import OUTPUT_BLOB, Event
from devtrace.ids import is_span_id, next_shell_span
from devtrace.sources.shell import pairing
from devtrace.sources.shell.shells import Meeting
from tests.sources.pairing_host import STRANGER, Host, body
from tests.sources.records import WRONG, Speaker

# --- forgery ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["-", WRONG], ids=["without the nonce", "with a wrong nonce"])
def forger(request: pytest.FixtureRequest) -> Speaker:
    """Somebody who knows the shell's id, its counter and its span, but not the nonce."""
    return Speaker("sh", nonce=request.param, depth=0)


def test_a_forged_end_does_not_end_a_true_command(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.exit(66, span=shell.span), forger.bye(66))
    host.hears(shell.exit(0, at=5_000))
    host.ends()

    assert (body(host.only).exit_code, host.only.ended_us, host.only.trusted) == (0, 5_000, 2)
    assert host.gaps == {}


def test_a_forged_command_does_not_end_a_true_one(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.cmd("evil", before=66))
    host.hears(shell.exit(0, at=5_000))

    assert (host.only.id, body(host.only).exit_code) == (shell.span, 0)


def test_a_forged_command_cannot_take_the_place_of_the_one_in_flight(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))
    host.hears(shell.exit(7))

    evil, true = host.commands
    assert (true.id, body(true).command, body(true).exit_code, true.trusted) == (shell.span, "make", 7, 2)
    assert (body(evil).command, evil.trusted) == ("evil", 0)
    assert evil.id != shell.span
    assert is_span_id(evil.id)


def test_a_forged_command_cannot_take_the_place_of_one_that_has_ended(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"), shell.exit())

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))

    assert len({event.id for event in host.commands}) == 2


@pytest.mark.parametrize("steps", [1, 2, 1_000])
def test_a_forged_command_cannot_take_the_place_of_one_to_come(forger: Speaker, steps: int) -> None:
    """A shell's span ids follow from one another, so that a program inside can foresee the next ones."""
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"), shell.exit())
    ahead = shell.number
    for _ in range(steps):
        ahead = next_shell_span(ahead)

    host.hears(forger.hello(), forger.cmd("evil", span=str(ahead)), forger.exit(span=str(ahead)))
    for _ in range(steps):
        host.hears(shell.cmd("make"), shell.exit())

    assert str(ahead) == shell.span
    (true,) = [event for event in host.commands if event.id == shell.span]
    assert (body(true).command, true.trusted) == ("make", 2)
    assert len({event.id for event in host.commands}) == len(host.commands) == steps + 2


def test_what_is_remembered_of_ids_does_not_grow_with_a_session(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), forger.hello(), shell.cmd("first"), shell.exit())
    first = shell.span
    tracemalloc.start()
    try:
        for _ in range(2_000):
            host.hears(shell.cmd("true"), shell.exit())
            host.events.clear()
            host.running.clear()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(10_000):
            host.hears(shell.cmd("true"), shell.exit())
            host.events.clear()
            host.running.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 100_000, "bytes; 10,000 numbers in a set are 800,000"
    for span in (first, shell.span):
        host.events.clear()
        host.hears(forger.cmd("evil", span=span), forger.exit(span=span))
        assert host.only.id != span


def test_those_without_the_nonce_fill_no_memory_and_take_no_id_of_a_believed_command(
    forger: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "_IDS_KEPT", 50)
    host, shell = Host(STRANGER), Speaker("sh")
    taken = shell.cmd("true one")
    for number in range(60):
        span = shell.span if number == 0 else f"{number:016x}"
        host.hears(forger.cmd("evil", span=span), forger.exit(span=span))
    kept = [event.id == f"{number:016x}" for number, event in enumerate(host.commands)]
    assert kept[1:50] == [True] * 49
    assert not any(kept[50:])

    host.hears(shell.hello(), taken, shell.exit())
    true = host.commands[-1]
    assert (body(true).command, true.trusted, true.id != shell.span) == ("true one", 2, True)
    for span in (true.id, shell.span):
        host.hears(forger.cmd("evil", span=span), forger.exit(span=span))

    assert len({event.id for event in host.commands}) == len(host.commands) == 63


def test_a_span_beside_the_walk_is_remembered_too(forger: Speaker) -> None:
    """bash tells of what was run from its line editor with a random span (devtrace.bash)."""
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello())
    beside = [f"9{number:015d}" for number in range(100)]
    for span in beside:
        host.hears(shell.cmd("true"), shell.exit())
        host.hears(shell.cmd("fc", span=span), shell.exit(span=span))
    assert [event.id for event in host.commands][1::2] == beside

    for span in beside:
        host.hears(forger.cmd("evil", span=span), forger.exit(span=span))

    assert len({event.id for event in host.commands}) == len(host.commands) == 300


def test_a_true_command_is_kept_even_where_its_id_was_taken_before_it_was_known(forger: Speaker) -> None:
    host, shell = Host(STRANGER, wants_output=True), Speaker("sh")
    first = shell.cmd("make")
    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))

    host.hears(shell.hello(), first)
    host.sees(shell.span, b"made")
    host.hears(shell.exit(7))

    evil, true = host.commands
    assert (body(true).command, true.trusted, true.blobs[OUTPUT_BLOB]) == ("make", 2, b"made")
    assert (evil.trusted, dict(evil.blobs)) == (0, {})
    assert evil.id != true.id


def test_a_forged_command_gets_no_output(forger: Speaker) -> None:
    host, shell = Host(STRANGER, wants_output=True), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))
    host.sees(shell.span, b"made")

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))
    host.hears(shell.exit())

    evil, true = host.commands
    assert (dict(evil.blobs), true.blobs[OUTPUT_BLOB]) == ({}, b"made")


def test_a_forged_command_is_no_interactive_one_and_no_program_of_the_host(forger: Speaker) -> None:
    host = Host(STRANGER, actor="human", nested_actor="agent:codex")
    program = Speaker("p", nonce=forger.nonce, version="program")

    for liar in (forger, program):
        host.hears(liar.hello(), liar.cmd("evil"), liar.exit())

    assert {event.trusted for event in host.commands} == {0}
    assert {event.source for event in host.commands} == {"bash_env"}
    assert not any(body(event).interactive for event in host.commands)


def test_a_record_of_a_shell_that_never_said_hello_names_the_fifo_as_its_source(forger: Speaker) -> None:
    host = Host()

    host.hears(forger.cmd("evil"), forger.exit())

    assert (host.only.source, host.only.trusted, host.only.status) == ("fifo", 0, "ok")


def test_a_stranger_s_counter_makes_no_gap(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    forger.seq = 1 << 50

    host.hears(shell.hello(), forger.hello(), forger.cmd("evil"), forger.exit())
    host.ends()

    assert host.gaps == {}


def test_a_nested_shell_s_counter_makes_a_gap_of_one() -> None:
    host, shell, nested = Host(), Speaker("sh"), Speaker("n", nonce="-", depth=1)
    nested.seq = 1 << 50

    host.hears(shell.hello(), nested.hello(), nested.exit())
    host.ends()

    assert host.gaps == {"lost_records": 1}


def test_a_wrong_nonce_does_not_profit_from_a_shell_without_one() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    liar = Speaker("n", nonce=WRONG, depth=1)
    host.hears(nested.hello(), nested.cmd("make"))

    host.hears(liar.hello(), liar.cmd("evil"), liar.exit(66), liar.exit(66, span=nested.span))
    host.hears(nested.exit(2))
    host.pairing.process_gone("n", 50, 2)

    evil, true = host.commands
    assert (body(evil).command, evil.trusted) == ("evil", 0)
    assert (body(true).command, body(true).exit_code, true.trusted) == ("make", 2, 1)


def test_a_second_hello_changes_nothing(forger: Speaker) -> None:
    host, shell = Host(), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), Speaker("sh", version="zsh 5.9", depth=1).hello())
    host.hears(shell.exit())

    assert (host.only.source, body(host.only).shell, body(host.only).depth) == ("interactive", "bash", 0)


def test_a_flood_of_strangers_is_bounded_and_counted() -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    for number in range(10_100):
        stranger = Speaker(f"f{number}", nonce="-", span=number + 1)
        host.hears(stranger.cmd("evil"), stranger.exit())
    host.hears(shell.exit())
    host.ends()

    counts = Counter((event.trusted, body(event).folded) for event in host.commands)
    assert counts == {(2, 0): 1, (0, 0): 10_000, (0, 100): 1}


# --- any order ----------------------------------------------------------------------------------------------


class Story:
    """What was said by many shells, to be told in any order that keeps each shell's own."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        self.lanes: list[list[Callable[[Host], None]]] = []
        self.started: Counter[str] = Counter()  # by command text, which is unique
        self.true_ends: dict[str, int] = {}
        self.lost = 0

    def traced(self, commands: int) -> None:
        shell, chance = Speaker("sh"), self.chance
        lane = [self.hears(shell.hello())]
        outputs: list[Callable[[Host], None]] = []
        missed = 0
        for number in range(commands):
            text, status = f"traced {number}", chance.randrange(3)
            cmd = shell.cmd(text, before=self.true_ends.get(f"traced {number - 1}", 0))
            if chance.random() < 0.1:  # never sent: the next counter shows it
                missed += 1
            else:
                self.started[text] += 1
                self.lost, missed = self.lost + missed, 0
                lane.append(self.hears(cmd))
            self.true_ends[text] = status
            if chance.random() < 0.8:
                outputs.append(self.sees(shell.span, text.encode()))
            end = shell.exit(status)
            if chance.random() < 0.15:
                missed += 1
            else:
                self.lost, missed = self.lost + missed, 0
                lane.append(self.hears(end))
        self.lanes += [lane, outputs]

    def nested(self, number: int) -> None:
        chance = self.chance
        shell = Speaker(f"n{number}", nonce="-", depth=1, span=int(f"7{number:015d}"))
        text = f"nested {number}"
        self.started[text] += 1
        lane = [self.hears(shell.hello()), self.hears(shell.cmd(text))]
        if chance.random() < 0.7:
            lane.append(self.hears(shell.exit(3)))
        self.lanes.append(lane)
        if chance.random() < 0.8:
            code = chance.choice((None, 3, 137))
            self.lanes.append([lambda host: host.pairing.process_gone(shell.shell, host.now, code)])

    def forged(self, number: int) -> None:
        """A forger without a hello, who uses the ids of the true ones."""
        chance = self.chance
        shell = Speaker("sh", nonce=chance.choice(("-", WRONG)))
        shell.seq = chance.randrange(100)
        text = f"forged {number}"
        self.started[text] += 1
        lane = [self.hears(shell.cmd(text, span=chance.choice((None, f"7{number:015d}"))))]
        if chance.random() < 0.5:
            lane.append(self.hears(shell.exit(66)))
        self.lanes.append(lane)

    def hears(self, record: bytes) -> Callable[[Host], None]:
        return lambda host: host.hears(record)

    def sees(self, span: str, data: bytes) -> Callable[[Host], None]:
        return lambda host: host.sees(span, data)

    def tell(self, host: Host) -> None:
        lanes = [lane for lane in self.lanes if lane]
        while lanes:
            lane = self.chance.choice(lanes)
            host.now += self.chance.choice((0, 10, 1_000, 100_000))
            lane.pop(0)(host)
            if self.chance.random() < 0.3:
                host.ticks(host.now)
            lanes = [lane for lane in lanes if lane]
        host.ends(exit_code=0, now=host.now + 1)


@pytest.mark.parametrize("round_", range(60))
def test_in_any_order_each_command_becomes_one_event_and_none_is_lost(round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    story = Story(chance)
    story.traced(chance.randrange(1, 30))
    for number in range(chance.randrange(12)):
        story.nested(number)
    for number in range(chance.randrange(12)):
        story.forged(number)
    host = Host(
        lambda _: Meeting(1, is_watched=chance.random() < 0.7, is_gone=chance.random() < 0.2, family=(1, 1)),
        wants_output=chance.random() < 0.7,
    )

    story.tell(host)

    assert Counter(host.texts) == story.started, f"seed {seed}"
    assert ids(host.running) == ids(host.commands), f"seed {seed}"
    assert len(set(ids(host.commands))) == len(host.commands), f"seed {seed}"
    assert host.gaps.get("lost_records", 0) == story.lost, f"seed {seed}"
    for event in host.commands:
        told = body(event).command or ""
        if event.trusted == 2:
            assert event.status != "unknown" or event.exit_source == "next_prompt", f"seed {seed}: {event}"
            assert event.blobs.get(OUTPUT_BLOB, told.encode()) == told.encode(), f"seed {seed}: {event}"
            if event.exit_source == "shell":
                assert body(event).exit_code == story.true_ends[told], f"seed {seed}: {event}"
        else:
            assert not event.blobs, f"seed {seed}: {event}"
        if told.startswith("forged"):
            assert event.trusted == 0, f"seed {seed}: {event}"


def ids(events: Iterable[Event]) -> list[str]:
    return sorted(event.id for event in events)
