"""Shells without the nonce: found among the processes, believed where they belong, watched to their end."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtrace.sources.shell.fifo import Hello
from devtrace.sources.shell.nested import Watch
from devtrace.sources.shell.processes import Process, Processes
from devtrace.sources.shell.shells import Meeting
from tests.sources.records import WRONG, Speaker

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="because there is no /proc")
pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="because there is no pidfd_open")


def hello(pid: int, ppid: int = 1, start: int | None = None, shell: str = "n") -> Hello:
    return Hello(None, shell, None, pid, ppid, start, 1, "bash", "5.2")


# --- an invented machine ------------------------------------------------------------------------------------


class Machine:
    """A /proc of our own making."""

    def __init__(self, proc: Path, own: int | None = None):
        self.proc = proc
        self.processes = Processes(proc)
        (proc / "self").symlink_to(str(os.getpid() if own is None else own))

    def add(
        self,
        pid: int,
        ppid: int,
        start: int,
        pids: tuple[int, ...] = (),
        name: str = "bash",
        stack: int | None = 0,
    ) -> None:
        fields = ["S", str(ppid), *["0"] * 17, str(start), *["0"] * 30]
        fields[23], fields[25] = ("1", "0") if stack is None else ("4096", str(stack))
        folder = self.proc / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        numbers = "\t".join(map(str, pids or (pid,)))
        (folder / "status").write_text(f"Name:\t{name}\nNSpid:\t{numbers}\nThreads:\t1\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """init, a terminal, its shell 100 (the traced one), an agent 110 in it, and somebody else's 200."""
    machine = Machine(tmp_path)
    machine.add(1, 0, 1, name="init")
    machine.add(90, 1, 5, name="host")
    machine.add(100, 90, 10)
    machine.add(110, 100, 20, name="node) S 1 (x")  # a name may hold anything
    machine.add(200, 1, 30)
    return machine


def test_a_process_is_read_whatever_its_name_is(machine: Machine) -> None:
    assert machine.processes.read(110) == Process(110, 100, 20)


def test_a_process_that_is_gone_is_none(machine: Machine) -> None:
    assert machine.processes.read(4_000_000) is None


@pytest.mark.parametrize("pid", [100, 110])
def test_the_traced_shell_and_what_it_started_belong_to_the_session(machine: Machine, pid: int) -> None:
    assert machine.processes.descends_from(machine.processes.read(pid), 100)


@pytest.mark.parametrize("pid", [1, 90, 200, 4_000_000])
def test_what_it_did_not_start_does_not(machine: Machine, pid: int) -> None:
    assert not machine.processes.descends_from(machine.processes.read(pid), 100)


def test_a_circle_of_parents_is_no_trap(machine: Machine) -> None:
    machine.add(300, 301, 1)
    machine.add(301, 300, 1)

    assert not machine.processes.descends_from(machine.processes.read(300), 100)


def test_a_shell_of_the_session_is_believed_a_little(machine: Machine) -> None:
    machine.add(120, 110, 25)

    meeting = Watch(100, machine.processes).meet(hello(120, 110, 25))

    assert (meeting.trusted, meeting.is_gone, meeting.family) == (1, False, (110, 20))


def test_a_shell_of_somebody_else_is_not(machine: Machine) -> None:
    machine.add(220, 200, 35)

    assert Watch(100, machine.processes).meet(hello(220, 200, 35)).trusted == 0


def test_a_shell_in_a_sandbox_is_found_by_the_number_it_has_there(machine: Machine) -> None:
    machine.add(500, 110, 40, pids=(500, 1), name="bwrap")
    machine.add(501, 500, 41, pids=(501, 2))

    meeting = Watch(100, machine.processes).meet(hello(2, 1, 41))

    assert (meeting.trusted, meeting.family) == (1, (500, 40))


def test_sandboxes_of_one_moment_are_told_apart_by_where_their_stacks_begin(machine: Machine) -> None:
    machine.add(500, 110, 40, pids=(500, 1), stack=7_000)
    machine.add(600, 120, 40, pids=(600, 1), stack=8_000)
    first, second, gone = (hello(1, 0, 40)._replace(stack=stack) for stack in (7_000, 8_000, 9_000))
    watch = Watch(100, machine.processes)

    assert (watch.meet(first).trusted, watch.meet(first).family) == (1, (110, 20))
    assert watch.meet(second).trusted == 0
    assert (watch.meet(gone).trusted, watch.meet(gone).is_gone) == (0, True)


def test_a_stack_that_may_not_be_read_is_no_obstacle(machine: Machine) -> None:
    machine.add(500, 110, 40, pids=(500, 1), stack=None)

    assert Watch(100, machine.processes).meet(hello(1, 0, 40)._replace(stack=7_000)).trusted == 1


def test_a_process_that_is_just_starting_is_none_that_has_spoken(machine: Machine) -> None:
    machine.add(500, 110, 40, pids=(500, 1), stack=0)

    assert Watch(100, machine.processes).meet(hello(1, 0, 40)._replace(stack=7_000)).trusted == 0


def test_a_sandbox_s_number_is_not_taken_for_another_process_of_ours(machine: Machine) -> None:
    """Number 110 in there is not our 110, which is of the session too."""
    machine.add(600, 200, 50, pids=(600, 110))

    assert Watch(100, machine.processes).meet(hello(110, 1, 50)).trusted == 0


def test_a_sandbox_s_number_with_another_start_is_another_process(machine: Machine) -> None:
    machine.add(500, 110, 40, pids=(500, 2))

    meeting = Watch(100, machine.processes).meet(hello(2, 1, 99))

    assert (meeting.trusted, meeting.is_gone) == (0, True)


def test_a_shell_that_sees_no_proc_is_not_guessed_at(machine: Machine) -> None:
    """Its number may be one of any namespace: 110 may be ours, or not."""
    assert Watch(100, machine.processes).meet(hello(110, 100, None)) == Meeting(
        0, is_watched=False, is_gone=False
    )


def test_a_shell_that_has_ended_is_believed_for_its_parent_s_sake(machine: Machine) -> None:
    meeting = Watch(100, machine.processes).meet(hello(70_001, 110, 60))

    assert meeting == Meeting(1, is_watched=False, is_gone=True, family=(110, 20))


def test_a_shell_that_has_ended_in_a_sandbox_is_not_believed_for_a_stranger_s_sake(machine: Machine) -> None:
    """Its parent's number, 110, is that of a process of ours by accident."""
    machine.add(500, 110, 40, pids=(500, 110))

    assert Watch(100, machine.processes).meet(hello(2, 110, 60)).trusted == 0


def test_where_numbers_are_small_or_have_begun_anew_it_is_believed_too(machine: Machine) -> None:
    machine.add(12, 110, 30)

    watch = Watch(100, machine.processes)

    assert watch.meet(hello(13, 12, 60)) == Meeting(1, is_watched=False, is_gone=True, family=(12, 30))
    assert Watch(100, machine.processes).meet(hello(301, 110, 60)) == Meeting(
        1, is_watched=False, is_gone=True, family=(110, 20)
    )


def test_a_sandbox_s_shell_is_looked_for_before_its_parent_s_number_is_believed(machine: Machine) -> None:
    machine.add(12, 110, 30)
    machine.add(500, 110, 40, pids=(500, 12))
    machine.add(501, 500, 41, pids=(501, 13))

    meeting = Watch(100, machine.processes).meet(hello(13, 12, 41))

    assert (meeting.trusted, meeting.is_gone, meeting.family) == (1, False, (500, 40))


def test_a_shell_that_is_older_than_its_parent_had_another_one(machine: Machine) -> None:
    assert Watch(100, machine.processes).meet(hello(70_001, 110, 19)).trusted == 0


def test_all_processes_are_not_looked_through_again_and_again(machine: Machine, tmp_path: Path) -> None:
    class Counting(Processes):
        looks = 0

        def find_elsewhere(self, pid: int, starttime: int, stack: int | None = None) -> Process | None:
            self.looks += 1
            for _ in range(50):  # a large machine
                super().find_elsewhere(pid, starttime, stack)
            return None

    processes = Counting(tmp_path)
    watch = Watch(100, processes)

    gone = [watch.meet(hello(70_001, 1, 99, shell=f"n{number}")).is_gone for number in range(200)]

    assert gone[0]
    assert processes.looks <= 20
    assert not all(gone)  # what was not looked for is not said to be gone


def test_where_there_is_no_proc_nothing_is_known_and_nobody_is_gone(tmp_path: Path) -> None:
    meeting = Watch(100, Processes(tmp_path / "none")).meet(hello(120, 110, 25))

    assert meeting == Meeting(0, is_watched=False, is_gone=False)


def test_our_own_proc_is_on_our_own_level(machine: Machine) -> None:
    assert (machine.processes.level(), machine.processes.pid_of_child(110)) == (0, 110)


def test_a_child_is_found_in_an_outer_namespace_s_proc(tmp_path: Path) -> None:
    """As after `unshare --pid --fork` without a /proc of its own: we are 900 there, our child 17 is 910."""
    machine = Machine(tmp_path, own=900)
    machine.add(900, 1, 10, pids=(900, os.getpid()))
    machine.add(909, 1, 11, pids=(909, 17))  # of another namespace
    machine.add(910, 900, 11, pids=(910, 17))
    machine.add(911, 910, 12, pids=(911, 18))

    assert (machine.processes.level(), machine.processes.pid_of_child(17)) == (1, 910)
    assert Watch(17, machine.processes).meet(hello(911, 910, 12)).trusted == 1
    assert Watch(17, machine.processes).meet(hello(909, 1, 11)).trusted == 0


# --- real processes -----------------------------------------------------------------------------------------


class Sleeper:
    """A child that tells nothing and waits to be ended."""

    def __init__(self, *argv: str):
        self.process = subprocess.Popen(argv or ("sleep", "60"), stdin=subprocess.PIPE)
        self.pid = self.process.pid

    def hello(self, shell: str = "n") -> Hello:
        process = Processes().read(self.pid)
        assert process is not None
        return hello(self.pid, os.getpid(), process.starttime, shell)

    def ends(self, number: int | None = None) -> None:
        if number is not None:
            os.kill(self.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Sleeper]]:
    started: list[Sleeper] = []

    def one(*argv: str) -> Sleeper:
        started.append(Sleeper(*argv))
        return started[-1]

    yield one
    for sleeper in started:
        sleeper.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch(os.getpid())
    yield watch
    watch.close()


def first_end(watch: Watch) -> tuple[str, int | None]:
    poll = select.poll()
    for fd in watch.fds():
        poll.register(fd, select.POLLIN)
    ((fd, _),) = poll.poll(20_000)
    return watch.take(fd)


@linux
@pidfd
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_shell_that_a_signal_ended_is_told_as_shells_say_it(
    watch: Watch, start: Callable[..., Sleeper], number: int
) -> None:
    sleeper = start()
    meeting = watch.meet(sleeper.hello())
    assert (meeting.trusted, meeting.is_watched, meeting.is_gone) == (1, True, False)

    sleeper.ends(number)

    assert first_end(watch) == ("n", 128 + number)
    assert watch.fds() == []


@linux
@pidfd
def test_a_shell_that_exits_is_told_with_its_status(watch: Watch, start: Callable[..., Sleeper]) -> None:
    sleeper = start("sh", "-c", "read line; exit 7")
    watch.meet(sleeper.hello("seven"))

    sleeper.process.stdin.write(b"\n")  # type: ignore[union-attr]
    sleeper.process.stdin.flush()  # type: ignore[union-attr]

    assert first_end(watch) == ("seven", 7)


@linux
@pidfd
def test_a_status_that_nobody_can_know_is_none_or_the_truth(
    watch: Watch, start: Callable[..., Sleeper]
) -> None:
    """Where the kernel does not tell by the pidfd, a child that was waited for is gone without a trace."""
    sleeper = start()
    watch.meet(sleeper.hello())
    sleeper.ends(signal.SIGKILL)
    sleeper.process.wait()

    assert first_end(watch)[1] in (137, None)


@linux
@pidfd
def test_a_shell_that_is_waited_for_while_its_status_is_asked_is_told_as_one_that_was_before(
    start: Callable[..., Sleeper],
) -> None:
    """The kernel tells the status once it was waited for, /proc until then."""
    waited, asked = start(), start()

    class Waiting(Processes):
        def zombie_status(self, pid: int) -> int | None:
            asked.process.wait()
            return super().zombie_status(pid)

    watch = Watch(os.getpid(), Waiting())
    ends = []
    for sleeper in (waited, asked):
        watch.meet(sleeper.hello())
        sleeper.ends(signal.SIGKILL)
        if sleeper is waited:
            sleeper.process.wait()
        ends.append(first_end(watch)[1])
    watch.close()

    assert ends[1] == ends[0]


@linux
@pidfd
def test_a_shell_is_greeted_before_it_is_gone(watch: Watch, start: Callable[..., Sleeper]) -> None:
    sleeper = start()
    said = sleeper.hello()
    bytes_heard = Speaker(
        "n", nonce="-", pid=said.pid, ppid=said.ppid, start=said.starttime or "-", depth=1
    ).hello()

    watch.greet(b"half a line\t1\n" + bytes_heard + b"CMD\t1\t-\tn\t")
    sleeper.ends(signal.SIGKILL)
    sleeper.process.wait()

    meeting = watch.meet(said)
    assert (meeting.trusted, meeting.is_watched, meeting.is_gone) == (1, True, False)
    assert first_end(watch)[0] == "n"


class Looked(Processes):
    """A /proc in which something happens between two looks at a process."""

    def __init__(self, pid: int, happens: Callable[[], None], after: int):
        super().__init__()
        self.pid, self.happens, self.after = pid, happens, after

    def read(self, pid: int) -> Process | None:
        process = super().read(pid)
        if pid == self.pid:
            self.after -= 1
            if self.after == 0:
                self.happens()
        return process


@linux
@pidfd
@pytest.mark.parametrize("reads", [0, 1])
def test_a_shell_that_ends_while_it_is_looked_at_is_gone(start: Callable[..., Sleeper], reads: int) -> None:
    """Its end would else be unknown until the session's."""
    sleeper = start()
    said = sleeper.hello()

    def ends() -> None:
        sleeper.ends(signal.SIGKILL)
        sleeper.process.wait()

    if not reads:
        ends()
    watch = Watch(os.getpid(), Looked(said.pid, ends, after=reads))

    meeting = watch.meet(said)

    assert (meeting.trusted, meeting.is_watched, meeting.is_gone) == (1, False, True)
    assert watch.fds() == []


@linux
@pidfd
def test_only_shells_without_any_nonce_are_greeted(watch: Watch, start: Callable[..., Sleeper]) -> None:
    said = start().hello()

    watch.greet(Speaker("n", nonce=WRONG, pid=said.pid, start=said.starttime or "-").hello())
    watch.greet(b"HELLO\t1\t-\tn\t-\tnonsense\n")

    assert watch.fds() == []


@linux
@pidfd
def test_a_process_that_has_taken_the_number_over_is_another(
    watch: Watch, start: Callable[..., Sleeper]
) -> None:
    said = start().hello()

    meeting = watch.meet(said._replace(starttime=(said.starttime or 0) + 1, ppid=1))

    assert (meeting.trusted, meeting.is_watched) == (0, False)


@linux
@pidfd
def test_hellos_without_number_use_up_no_descriptors(watch: Watch, start: Callable[..., Sleeper]) -> None:
    said = start().hello()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    for number in range(3_000):
        watch.greet(
            Speaker(
                f"n{number}", nonce="-", pid=said.pid, ppid=said.ppid, start=said.starttime or "-"
            ).hello()
        )

    assert len(watch.fds()) < min(limits[0], 1_024) / 2


@linux
@pidfd
def test_closing_ends_every_watch(start: Callable[..., Sleeper]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = Watch(os.getpid())
    watch.meet(start().hello("a"))
    watch.meet(start().hello("b"))
    pipes = 2  # the stdin of each

    watch.close()
    watch.close()

    assert len(os.listdir("/proc/self/fd")) == before + pipes


def test_how_an_end_is_found_is_told_with_its_reason() -> None:
    choice = Watch.technique()

    assert choice.what == "nested end"
    assert choice.because
