"""The hook protocol's reader: records whole, damage counted, and nobody's rubbish costs another's record."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from devtrace.ids import new_nonce, new_shell_span
from devtrace.sources.shell.fifo import (
    FORMS,
    RECORD_LIMIT,
    TEXT_LIMIT,
    Assembler,
    Bye,
    Cmd,
    Damaged,
    Exit,
    Hello,
    Record,
    Warn,
    cmd_lines,
    hello_line,
)
from tests.sources.records import NONCE, WRONG, Speaker, cut, line

EVERY_BYTE = bytes(range(1, 256))  # a command line holds any byte but NUL


def read(*data: bytes) -> list[Record]:
    assembler = Assembler(NONCE)
    return [record for piece in data for record in assembler.feed(piece)] + list(assembler.close())


def only(record: bytes) -> Record:
    (one,) = read(record)
    return one


def sizes(records: list[Record]) -> list[int]:
    return [record.size for record in records if isinstance(record, Damaged)]


# --- one record ---------------------------------------------------------------------------------------------


def test_a_hello_says_who_the_shell_is() -> None:
    record = only(Speaker("sh1", pid=12, ppid=11, start=987, depth=0).hello())

    assert record == Hello(NONCE, "sh1", None, 12, 11, 987, 0, "bash", "5.2.15(1)-release")


def test_a_hello_may_say_where_the_stack_begins() -> None:
    record = only(Speaker("sh1", nonce="-", start="987.140725960982992").hello())

    assert isinstance(record, Hello)
    assert (record.starttime, record.stack) == (987, 140725960982992)


@pytest.mark.parametrize("start", ["987.x", "987.1.2", ".5", "987." + "1" * 19])
def test_a_start_that_is_no_number_is_damage(start: str) -> None:
    assert isinstance(only(Speaker("sh1", nonce="-", start=start).hello()), Damaged)


def test_a_hello_without_a_proc_has_no_start_time() -> None:
    record = only(Speaker("sh1", nonce="-").hello())

    assert isinstance(record, Hello)
    assert (record.nonce, record.starttime) == (None, None)


def test_a_command_keeps_every_byte() -> None:
    shell = Speaker("sh1")

    record = only(
        shell.cmd(EVERY_BYTE, cwd=b"/tmp/\xff tab\there\nnew%line", at=5, before=7, parent="ab" * 8)
    )

    assert isinstance(record, Cmd)
    assert os.fsencode(record.command) == EVERY_BYTE
    assert os.fsencode(record.cwd) == b"/tmp/\xff tab\there\nnew%line"
    assert (record.span, record.parent, record.start_us, record.prev_exit) == (shell.span, "ab" * 8, 5, 7)


@pytest.mark.parametrize("text", ["%09", "%2509", "%%25", "100%", "%0A%00", "a%25b%", "%2", "%\t%\n%"])
def test_percent_signs_come_back_as_they_were_typed(text: str) -> None:
    record = only(Speaker("sh1").cmd(text))

    assert isinstance(record, Cmd)
    assert record.command == text


def test_a_shell_without_a_clock_or_a_status_says_so() -> None:
    record = only(Speaker("sh1").cmd("true", at="-", before="-"))

    assert isinstance(record, Cmd)
    assert (record.start_us, record.prev_exit) == (None, None)


def test_an_end_has_its_pipestatus_and_where_it_ended() -> None:
    shell = Speaker("sh1")

    record = only(shell.exit(1, at=9, pipe="0,1,141", cwd=b"/a%b"))

    assert record == Exit(NONCE, "sh1", 1, shell.span, 9, 1, [0, 1, 141], "/a%b")


def test_an_end_without_a_directory_has_none() -> None:
    record = only(Speaker("sh1").exit(0, cwd=b""))

    assert isinstance(record, Exit)
    assert record.cwd is None


def test_a_shell_says_goodbye_and_what_is_wrong() -> None:
    shell = Speaker("sh1")

    assert read(shell.warn("promptvars_off"), shell.bye(3)) == [
        Warn(NONCE, "sh1", "promptvars_off"),
        Bye(NONCE, "sh1", 1, 3),
    ]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_of_a_text_is_known(form: str) -> None:
    record = only(Speaker("sh1").cmd(b"", form=form))

    assert isinstance(record, Cmd)
    assert record.form == form


def test_what_the_host_says_for_a_program_reads_like_a_hook_s_words() -> None:
    words = "printf '%s\t\udcff\n' " + "x" * 3_000
    hello, cmd = read(
        hello_line(NONCE, "host", 42) + cmd_lines(NONCE, "host", 1, "00000000000000ab", 5, "/a\tb", words)
    )

    assert isinstance(hello, Hello)
    assert (hello.pid, hello.name) == (42, "program")
    assert isinstance(cmd, Cmd)
    assert (cmd.command, cmd.cwd, cmd.span) == (words, "/a\tb", "00000000000000ab")


def test_what_the_host_says_for_a_program_fits_into_records() -> None:
    lines = cmd_lines(NONCE, "host", 1, "00000000000000ab", 1 << 50, "/" + "%" * 3_000, "\n" * 3_000)

    assert max(map(len, lines.splitlines(keepends=True))) <= RECORD_LIMIT


# --- no record ----------------------------------------------------------------------------------------------

SPAN = "1234567890123456"
MALFORMED = {
    "an unknown kind": b"NOPE\t1\t-\tsh\t1\t1\n",
    "words": b"hello, world\n",
    "invalid bytes": bytes(range(128, 256)) + b"\n",
    "a NUL in a number": b"BYE\t1\t-\tsh\t1\x00\t1\n",
    "another version": b"BYE\t2\t-\tsh\t1\t1\n",
    "too few fields": b"CMD\t1\t-\tsh\t1\t1/1\n",
    "too many fields in a CMD": line("CMD", 1, "-", "sh", 1, "1/1", SPAN, "-", 1, 0, "e", "/", "a", "b"),
    "a CMD without a command": line("CMD", 1, "-", "sh", 1, "1/1", SPAN, "-", 1, 0, "e", "/"),
    "too many fields in an EXIT": line("EXIT", 1, "-", "sh", 1, "1/1", SPAN, 1, 0, "-", "/", "x"),
    "an unknown form": line("CMD", 1, "-", "sh", 1, "1/1", SPAN, "-", 1, 0, "?", "/", "a"),
    "a span of zeros": line("CMD", 1, "-", "sh", 1, "1/1", "0" * 16, "-", 1, 0, "e", "/", "a"),
    "a span that is short": line("EXIT", 1, "-", "sh", 1, "1/1", "abc", 1, 0, "-", "/"),
    "a parent that is none": line("CMD", 1, "-", "sh", 1, "1/1", SPAN, "x" * 16, 1, 0, "e", "/", "a"),
    "part nought": line("EXIT", 1, "-", "sh", 1, "0/1", SPAN, 1, 0, "-", "/"),
    "part two of one": line("EXIT", 1, "-", "sh", 1, "2/1", SPAN, 1, 0, "-", "/"),
    "three numbers for a part": line("EXIT", 1, "-", "sh", 1, "1/1/1", SPAN, 1, 0, "-", "/"),
    "a negative counter": line("BYE", 1, "-", "sh", -1, 0),
    "a counter with underscores": line("BYE", 1, "-", "sh", "1_0", 0),
    "a counter of 900 digits": line("BYE", 1, "-", "sh", "9" * 900, 0),
    "a time of 64 bits and more": line("EXIT", 1, "-", "sh", 1, "1/1", SPAN, 1 << 64, 0, "-", "/"),
    "a status of 64 bits and more": line("EXIT", 1, "-", "sh", 1, "1/1", SPAN, 1, 1 << 64, "-", "/"),
    "a pipestatus of words": line("EXIT", 1, "-", "sh", 1, "1/1", SPAN, 1, 0, "0,x", "/"),
    "a shell with a path for a name": line("BYE", 1, "-", "../../etc", 1, 0),
    "a shell without a name": line("BYE", 1, "-", "", 1, 0),
    "a name of 65 letters": line("BYE", 1, "-", "s" * 65, 1, 0),
    "a warning of several words": line("WARN", 1, "-", "sh", "look out"),
    "a process id of words": line("HELLO", 1, "-", "sh", "-", "me", 1, 1, 0, "bash 5"),
    "a process id beyond all": line("HELLO", 1, "-", "sh", "-", "9" * 30, 1, 1, 0, "bash 5"),
    "a shell's name of escapes": line("HELLO", 1, "-", "sh", "-", 1, 1, 1, 0, "\x1b[31m 5"),
}


@pytest.mark.parametrize("record", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_record_is_counted_and_harms_nothing_after_it(record: bytes) -> None:
    good = Speaker("sh1").bye()

    assert read(record + good) == [Damaged(len(record) - 1), Bye(NONCE, "sh1", 1, 0)]


def test_empty_lines_are_nothing() -> None:
    assert read(b"\n\n\n") == []


def test_a_record_without_an_end_is_damaged_when_the_session_ends() -> None:
    assert read(Speaker("sh1").bye()[:-1]) == [Damaged(len("BYE\t1\t\tsh1\t1\t0") + len(NONCE))]


def test_ten_megabytes_without_a_newline_are_one_damage_and_little_memory() -> None:
    assembler = Assembler(NONCE)
    flood = [b"x" * 65_536] * 160

    assert [record for piece in flood for record in assembler.feed(piece)] == []
    assert list(assembler.feed(b"\n" + Speaker("sh1").bye())) == [
        Damaged(160 * 65_536),
        Bye(NONCE, "sh1", 1, 0),
    ]


@pytest.mark.parametrize("size", [1, 999, 1_001, 16_000, 16_001, 100_000, 1_000_000])
def test_a_record_behind_bytes_without_a_newline_is_found(size: int) -> None:
    rubbish = b"CMD\t1" + b"z" * size

    assert read(rubbish, Speaker("sh1").cmd("make test"))[0] == Damaged(len(rubbish))
    assert isinstance(read(rubbish, Speaker("sh1").cmd("make test"))[1], Cmd)


def test_a_forged_beginning_without_a_newline_swallows_no_true_record() -> None:
    shell = Speaker("sh1")
    beginning = line("CMD", 1, "-", "evil", 1, "1/1", SPAN, "-", 1, 0, "e", "/", "rm -rf ")[:-1]

    damaged, true = read(beginning, shell.exit(3))

    assert damaged == Damaged(len(beginning))
    assert isinstance(true, Exit)
    assert (true.nonce, true.exit) == (NONCE, 3)


def test_a_seq_of_one_is_no_second_head() -> None:
    assert read(line("BYE", 1, NONCE, "c0de", 1, 0)) == [Bye(NONCE, "c0de", 1, 0)]


def test_bytes_that_were_dropped_never_join_what_came_before_and_after() -> None:
    assembler = Assembler(NONCE)
    first, second = Speaker("sh1").cmd("echo one"), Speaker("sh2").cmd("echo two")

    assert list(assembler.feed(first[:70])) == []
    assembler.skip(500, 3)
    records = [*assembler.feed(second[70:] + first), *assembler.close()]

    assert [type(record) for record in records] == [Damaged, Cmd]
    assert sizes(records) == [70 + 500 + len(second) - 71]
    assert assembler.n_lines == 3 + 2


# --- parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 790, 791, 800, 801, 1_599, 1_600, 1_601, 4_096, 100_000])
def test_a_long_command_arrives_whole_whatever_its_length(size: int) -> None:
    command = "".join(random.Random(size).choices("ab%\t\n é", k=size))

    record = only(Speaker("sh1").cmd(command))

    assert isinstance(record, Cmd)
    assert record.command == command


def test_no_part_is_longer_than_a_record_may_be() -> None:
    lines = Speaker("s" * 16).cmd_parts(b"%" * 5_000, at=1 << 50, before=255, parent="f" * 16)

    assert max(map(len, lines)) <= RECORD_LIMIT


def test_a_lost_part_is_one_damage_however_many_parts_there_are() -> None:
    shell = Speaker("sh1")
    lost = shell.cmd_parts("x" * 8_000)
    del lost[3]

    records = read(*lost, shell.exit())

    assert [type(record) for record in records] == [Damaged, Exit]


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_the_record_after_a_torn_one_is_whole(missing: int) -> None:
    shell = Speaker("sh1")
    torn = shell.cmd_parts("x" * 8_000)
    del torn[missing]

    records = read(*torn, *shell.cmd_parts("y" * 8_000))

    assert sorted(type(record).__name__ for record in records) == ["Cmd", "Damaged"]
    (cmd,) = [record for record in records if isinstance(record, Cmd)]
    assert cmd.command == "y" * 8_000


def test_a_part_that_comes_twice_damages_its_record_only() -> None:
    shell = Speaker("sh1")
    twice = shell.cmd_parts("x" * 3_000)

    records = read(twice[0], twice[1], twice[1], twice[2], twice[3], shell.exit())

    assert [type(record) for record in records] == [Damaged, Exit]


def test_a_record_that_begins_anew_is_the_one_that_counts() -> None:
    first, again = Speaker("sh1"), Speaker("sh1")

    records = read(*first.cmd_parts("x" * 3_000)[:2], *again.cmd_parts("y" * 3_000))

    assert [type(record) for record in records] == [Damaged, Cmd]


def test_a_number_of_parts_that_changes_is_damage() -> None:
    shell = Speaker("sh1")
    one, two = shell.cmd_parts("x" * 1_500)

    assert [type(record) for record in read(one, two.replace(b"\t2/2\t", b"\t2/3\t"))] == [Damaged]


def test_a_forged_part_neither_joins_nor_breaks_a_true_record() -> None:
    shell = Speaker("sh1")
    true = shell.cmd_parts("x" * 3_000)
    forged = [part.replace(NONCE.encode(), nonce) for part in true for nonce in (b"-", WRONG.encode())]

    records = read(true[0], forged[0], forged[5], true[1], *forged[2:], true[2], true[3])

    (cmd,) = [record for record in records if isinstance(record, Cmd) and record.nonce == NONCE]
    assert cmd.command == "x" * 3_000


def test_parts_without_an_end_are_damage_when_the_session_ends() -> None:
    assert [type(record) for record in read(*Speaker("sh1").cmd_parts("x" * 3_000)[:3])] == [Damaged]


def test_endless_beginnings_of_strangers_are_bounded_and_push_no_true_one_out() -> None:
    assembler = Assembler(NONCE)
    shell = Speaker("sh1")
    true = shell.cmd_parts("x" * 3_000)
    list(assembler.feed(true[0]))

    damaged = 0
    for number in range(5_000):
        forged = Speaker(f"f{number}", nonce="-").cmd_parts("z" * 3_000)[0]
        damaged += len(list(assembler.feed(forged)))
    (cmd,) = assembler.feed(b"".join(true[1:]))

    assert damaged >= 3_900
    assert isinstance(cmd, Cmd)


def test_a_text_beyond_all_bounds_is_damage_and_not_memory() -> None:
    size = TEXT_LIMIT + 2_000
    assembler = Assembler(NONCE)
    shell = Speaker("sh1")

    records = list(assembler.feed(shell.cmd(b"x" * size) + shell.exit()))

    assert [type(record) for record in records] == [Damaged, Exit]


# --- many writers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(8))
def test_records_of_many_writers_come_through_any_interleaving_and_any_cut(round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    said: list[list[bytes]] = []
    expected: set[tuple[str, bytes]] = set()
    for number in range(6):
        shell = Speaker(f"sh{number}", nonce=chance.choice((NONCE, "-")), span=new_shell_span())
        lines = []
        for _ in range(20):
            command = bytes(chance.choices(EVERY_BYTE, k=chance.choice((0, 5, 60, 790, 1_700, 5_000))))
            expected.add((shell.shell + f"/{shell.seq + 1}", command))
            lines += shell.cmd_parts(command)
        said.append(lines)
    queues = [iter(lines) for lines in said]
    stream = b""
    while queues:
        queue = chance.choice(queues)
        try:
            stream += next(queue)
        except StopIteration:
            queues.remove(queue)
    pieces = cut(stream, iter(lambda: chance.choice((1, 7, 100, 1_000, 4_096, 65_536)), None))

    records = read(*pieces)

    heard = {(f"{r.shell}/{r.seq}", os.fsencode(r.command)) for r in records if isinstance(r, Cmd)}
    assert (heard, len(records)) == (expected, 120), f"seed {seed}"


@pytest.mark.parametrize("round_", range(8))
def test_true_records_come_through_any_rubbish_between_them(round_: int) -> None:
    """Writers of up to 1,000 bytes are never torn; what a stranger writes between them may be anything."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    shell = Speaker("sh1")
    stream, expected = b"", []
    for number in range(60):
        for part in [
            *shell.cmd_parts(f"echo {number} " + "x" * chance.choice((0, 900, 4_000))),
            shell.exit(number),
        ]:
            stream += rubbish(chance, shell) + part
        expected += [("Cmd", 2 * number + 1), ("Exit", 2 * number + 2)]
    pieces = cut(stream, iter(lambda: chance.choice((1, 50, 1_000, 65_536)), None))

    records = [record for record in read(*pieces) if isinstance(record, Cmd | Exit) and record.nonce == NONCE]

    assert [(type(record).__name__, record.seq) for record in records] == expected, f"seed {seed}"


def rubbish(chance: random.Random, shell: Speaker) -> bytes:
    forger = Speaker(shell.shell, nonce=chance.choice(("-", WRONG, new_nonce())))
    forger.seq = shell.seq
    kinds: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: b"\n" * chance.randrange(4),
        lambda: chance.randbytes(chance.choice((1, 30, 3_000))),
        lambda: chance.randbytes(30_000).replace(b"\n", b""),
        lambda: forger.cmd("evil"),
        lambda: forger.cmd("evil")[: chance.randrange(80)],
        lambda: forger.cmd_parts("evil" * 900)[chance.randrange(4)],
        lambda: forger.exit(9, span=shell.span),
        lambda: forger.exit(9, span=shell.span)[:-1],
        lambda: chance.choice(list(MALFORMED.values())),
        lambda: chance.choice(list(MALFORMED.values()))[:-1],
    ]
    return chance.choice(kinds)()
