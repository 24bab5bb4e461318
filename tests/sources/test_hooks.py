"""How a shell is started so that it records itself: which one, with what files, in what environment."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError, UsageError
from devtrace.ids import is_span_id, new_session_id
from devtrace.sources.shell import hooks
from devtrace.sources.shell.hooks import Request, Session

SHELLS = ["bash", "zsh", "fish"]
# What agents take out of the environment of what they start.
STRIPPED = re.compile("KEY|TOKEN|SECRET|AUTH|PASSWORD|PRIVATE|CERT|CREDENTIAL")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    private = tmp_path / "it's private"
    private.mkdir(mode=0o700)
    return hooks.new_session(new_session_id(), tmp_path / "my repo" / ".devtrace", "codex", private)


def request(name: str = "bash", **wanted: object) -> Request:
    known = {
        "name": name,
        "path": f"/bin/{name}",
        "login": False,
        "piped": False,
        "marks": [Path("/dev/tty")],
    }
    return Request(**(known | wanted))  # type: ignore[arg-type]


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# --- which shell --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bash", "bash"),
        ("/usr/bin/zsh", "zsh"),
        ("-bash", "bash"),
        ("/opt/bash-5.3", "bash"),
        ("zsh-5.9", "zsh"),
        ("/bin/fish", "fish"),
        ("/bin/sh", None),
        ("dash", None),
        ("rbash", None),
        ("bashful", None),
        ("", None),
    ],
)
def test_a_shell_is_known_by_its_name(path: str, name: str | None) -> None:
    assert hooks.shell_name(path) == name


def test_the_shell_that_was_asked_for_is_taken_from_path(tmp_path: Path) -> None:
    zsh = program(tmp_path / "bin" / "zsh")

    name, path, choice = hooks.choose_shell("zsh", {"PATH": str(tmp_path / "bin"), "SHELL": "/bin/bash"})

    assert (name, path, choice.because) == ("zsh", str(zsh), "it was asked for")


def test_a_shell_may_be_asked_for_by_its_path(tmp_path: Path) -> None:
    bash = program(tmp_path / "bash-5.3")

    assert hooks.choose_shell(str(bash), {"PATH": ""})[:2] == ("bash", str(bash))


def test_without_a_wish_it_is_the_user_s_own(tmp_path: Path) -> None:
    fish = program(tmp_path / "fish")

    name, path, choice = hooks.choose_shell("", {"SHELL": str(fish), "PATH": ""})

    assert (name, path, choice.because) == ("fish", str(fish), "it is $SHELL")


@pytest.mark.parametrize("own", ["/bin/dash", "", "/nowhere/zsh"])
def test_a_user_whose_shell_has_no_hooks_gets_bash_and_the_reason(tmp_path: Path, own: str) -> None:
    bash = program(tmp_path / "bash")

    name, path, choice = hooks.choose_shell("", {"SHELL": own, "PATH": str(tmp_path)})

    assert (name, path) == ("bash", str(bash))
    assert own in choice.because


def test_a_shell_without_hooks_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError) as refused:
        hooks.choose_shell("tcsh", dict(os.environ))

    assert refused.value.code == "ERR_SHELL_UNSUPPORTED"


@pytest.mark.parametrize("asked", ["zsh", "/nowhere/bash"])
def test_a_shell_that_is_not_installed_is_said_to_be_missing(tmp_path: Path, asked: str) -> None:
    with pytest.raises(EnvironmentError) as refused:
        hooks.choose_shell(asked, {"PATH": str(tmp_path)})

    assert refused.value.code == "ERR_SHELL_MISSING"


@pytest.mark.parametrize(
    ("argv", "is_login"),
    [
        (["-bash", "-c", "echo; read x"], True),
        (["bash", "-c", "echo; read x"], False),
        (["bash", "-l", "-c", "echo; read x"], True),
        (["bash", "--login", "-c", "echo; read x"], True),
        (["sh", "-c", "echo; read x", "-l"], False),
    ],
)
def test_a_login_shell_is_known_by_its_first_argument(argv: list[str], is_login: bool) -> None:
    executable = "/bin/bash" if "bash" in argv[0] else "/bin/sh"
    with subprocess.Popen(
        argv, executable=executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        try:
            assert shell.stdout is not None
            assert shell.stdout.readline() == b"\n"
            assert hooks.is_login_parent(shell.pid) == is_login
        finally:
            shell.communicate(b"\n")


def test_a_process_that_is_gone_is_no_login_shell() -> None:
    assert not hooks.is_login_parent(1 << 22)


# --- with what files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("login", [False, True])
def test_the_start_up_file_is_ours_alone_and_holds_the_nonces(
    session: Session, name: str, login: bool
) -> None:
    plan = hooks.plan(session, request(name, login=login), {"PATH": "/bin"})

    (file,) = plan.startup_files
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert session.private in file.parents
    assert session.nonce in file.read_text()
    assert session.mark in file.read_text()


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_the_nonces_are_neither_in_the_environment_nor_on_the_command_line(
    session: Session, name: str, login: bool, piped: bool
) -> None:
    plan = hooks.plan(session, request(name, login=login, piped=piped), {"PATH": "/bin"})

    told = repr((plan.environment, plan.argv, [choice.as_dict() for choice in plan.choices]))
    assert session.nonce not in told
    assert session.mark not in told


@pytest.mark.parametrize("name", SHELLS)
def test_a_file_that_somebody_put_there_is_not_written_to(session: Session, name: str) -> None:
    place = {"bash": "rc.bash", "zsh": "zsh", "fish": "rc.fish"}[name]
    (session.private / place).symlink_to("/etc/nowhere")

    with pytest.raises(FileExistsError):
        hooks.plan(session, request(name), {})


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_what_is_written_is_a_script_whatever_the_paths_are(session: Session, name: str, needs) -> None:  # type: ignore[no-untyped-def]
    needs(name)
    plan = hooks.plan(
        session, request(name, stderr=str(session.private / "err")), {"ENV": "it's", "ZDOTDIR": "a'b"}
    )

    done = subprocess.run([name, "-n", plan.startup_files[0]], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_what_fish_gets_is_a_script_whatever_the_paths_are(session: Session, needs) -> None:  # type: ignore[no-untyped-def]
    needs("fish")
    plan = hooks.plan(session, request("fish"), {})

    done = subprocess.run(
        ["fish", "--no-execute", plan.startup_files[0]], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_bash_is_started_with_our_file_in_place_of_its_own(session: Session) -> None:
    plan = hooks.plan(session, request("bash"), {})

    assert plan.argv == ["/bin/bash", "--rcfile", str(session.private / "rc.bash"), "-i"]
    assert "~/.bashrc" in plan.startup_files[0].read_text()


def test_a_login_bash_reads_env_and_gets_its_own_back(session: Session) -> None:
    plan = hooks.plan(session, request("bash", login=True), {"ENV": "~/my env"})

    assert plan.argv == ["/bin/bash", "--posix", "-l", "-i"]
    assert plan.environment["ENV"] == str(session.private / "rc.bash")
    assert "export ENV='~/my env'" in plan.startup_files[0].read_text()


def test_a_login_bash_without_env_has_none_afterwards(session: Session) -> None:
    plan = hooks.plan(session, request("bash", login=True), {})

    assert "unset ENV" in plan.startup_files[0].read_text()


def test_zsh_is_led_to_our_folder_and_back(session: Session) -> None:
    plan = hooks.plan(session, request("zsh", login=True), {"ZDOTDIR": "/home/ana/z dir"})

    assert plan.argv == ["/bin/zsh", "-l", "-i"]
    assert Path(plan.environment["ZDOTDIR"]) == plan.startup_files[0].parent
    assert plan.startup_files[0].read_text().startswith("export ZDOTDIR='/home/ana/z dir'\n")


def test_zsh_without_a_folder_of_its_own_has_none_afterwards(session: Session) -> None:
    plan = hooks.plan(session, request("zsh"), {})

    assert plan.startup_files[0].read_text().startswith("unset ZDOTDIR\n")


def test_fish_reads_our_file_after_the_user_s(session: Session) -> None:
    plan = hooks.plan(session, request("fish", login=True), {})

    assert plan.argv[:4] == ["/bin/fish", "-l", "-i", "-C"]
    assert "rc.fish" in plan.argv[4]


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_on_a_pipe_edits_no_line(session: Session, name: str) -> None:
    plan = hooks.plan(session, request(name, piped=True), {})

    text = plan.startup_files[0].read_text()
    assert re.search(r"__devtrace_quiet[= ]'?1'?\n", text)
    assert name != "bash" or "--noediting" in plan.argv
    assert name != "fish" or "-c" in plan.argv


def test_a_shell_without_marks_gets_none(session: Session) -> None:
    plan = hooks.plan(session, request("bash", marks=[]), {})

    assert "__devtrace_marks=()\n" in plan.startup_files[0].read_text()


def test_exact_texts_are_asked_of_bash(session: Session) -> None:
    plan = hooks.plan(session, request("bash", exact=True), {})

    assert "shopt -s lithist" in plan.startup_files[0].read_text()


# --- in what environment ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHELLS)
def test_everything_inside_finds_its_session(session: Session, name: str) -> None:
    environment = hooks.plan(session, request(name), {"PATH": "/bin", "EDITOR": "vi"}).environment

    assert environment["DEVTRACE_SESSION"] == session.id
    assert environment["DEVTRACE_DIR"] == str(session.store)
    assert environment["DEVTRACE_FIFO"] == str(session.private / "fifo")
    assert environment["DEVTRACE_AGENT"] == "codex"
    assert environment["EDITOR"] == "vi"


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("nested", hooks.NESTED)
def test_no_name_of_ours_is_one_that_agents_strip(session: Session, name: str, nested: str) -> None:
    environment = hooks.plan(session, request(name, nested=nested), {}).environment
    environment |= hooks.with_nested_parts({"BASH_ENV": "x", "ZDOTDIR": "y"}, "codex", nested)

    assert [name for name in environment if STRIPPED.search(name)] == []


@pytest.mark.parametrize("name", SHELLS)
def test_every_python_inside_looks_whether_it_is_to_be_recorded(session: Session, name: str) -> None:
    bare = hooks.plan(session, request(name), {"PYTHONPATH": ""}).environment["PYTHONPATH"]

    assert (Path(bare) / "sitecustomize.py").is_file()
    own = hooks.with_python_path({"PYTHONPATH": "/lib:/more"})
    assert own == {"PYTHONPATH": f"{bare}:/lib:/more"}
    assert hooks.with_python_path(own) == own  # a traced shell inside a traced shell


def test_all_levels_are_recorded_when_asked_for(session: Session) -> None:
    assert hooks.plan(session, request(nested="all"), {}).environment["DEVTRACE_NESTED"] == "all"


def test_only_the_first_level_is_recorded_when_nothing_is_asked_for(session: Session) -> None:
    assert "DEVTRACE_NESTED" not in hooks.plan(session, request(), {}).environment


def test_no_level_is_recorded_when_that_is_off(session: Session) -> None:
    text = hooks.plan(session, request(nested="off"), {}).startup_files[0].read_text()

    assert "__devtrace_env=''\n" in text
    assert hooks.with_nested_parts({"BASH_ENV": "mine"}, "codex", "off") == {"BASH_ENV": "mine"}


def test_a_program_s_shells_find_our_parts_and_the_user_s_own() -> None:
    own = hooks.with_nested_parts({"BASH_ENV": "~/.bash_env"}, "codex", "first")

    assert Path(own["BASH_ENV"]).is_file()
    assert own["DEVTRACE_BASH_ENV"] == "~/.bash_env"
    assert (Path(own["ZDOTDIR"]) / ".zshenv").is_file()
    assert own["DEVTRACE_ZDOTDIR"] == ""


def test_in_a_manual_session_zsh_keeps_its_folder() -> None:
    assert "ZDOTDIR" not in hooks.with_nested_parts({}, "manual", "first")


def test_parts_that_are_there_already_are_not_chained_to_themselves() -> None:
    once = hooks.with_nested_parts({"BASH_ENV": "~/.bash_env"}, "codex", "first")

    assert hooks.with_nested_parts(once, "codex", "first") == once


def test_each_session_has_its_own_two_nonces(tmp_path: Path) -> None:
    sessions = [hooks.new_session(new_session_id(), tmp_path, "manual", tmp_path) for _ in range(2)]

    nonces = {session.nonce for session in sessions} | {session.mark for session in sessions}
    assert len(nonces) == 4
    assert all(map(is_span_id, nonces))


@pytest.mark.parametrize("name", SHELLS)
def test_each_shell_begins_its_walk_of_ids_elsewhere(session: Session, name: str) -> None:
    texts = []
    for number in range(2):
        private = session.private / str(number)
        private.mkdir()
        texts.append(
            hooks.plan(session._replace(private=private), request(name), {}).startup_files[0].read_text()
        )

    seeds = [re.search(r"__devtrace_seed[= ]'?(\d{16})'?\n", text) for text in texts]
    assert seeds[0]
    assert seeds[1]
    assert seeds[0][1] != seeds[1][1]


def test_what_is_typed_never_reaches_a_disk(session: Session) -> None:
    """bash's history line passes through a file: one in memory, or none."""
    text = hooks.plan(session, request("bash"), {}).startup_files[0].read_text()

    found = re.search(r"^__devtrace_scratch=(.*)$", text, re.MULTILINE)
    assert found
    (path,) = shlex.split(found[1]) or [""]
    assert path == "" or subprocess.run(
        ["stat", "-f", "-c", "%T", Path(path).parent], capture_output=True, text=True, check=False
    ).stdout.strip() in ("tmpfs", "ramfs", "")
    scratch = hooks.scratch_directory(session.private)
    if scratch.exists():
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
        scratch.rmdir()


@pytest.mark.parametrize(
    ("name", "version", "chosen"),
    [
        ("bash", "5.3.9(1)-release", "PS0 with ${ ...; }, no fork"),
        ("bash", "5.10.0", "PS0 with ${ ...; }, no fork"),
        ("bash", "6.0", "PS0 with ${ ...; }, no fork"),
        ("bash", "5.2.15(1)-release", "PS0 with one fork"),
        ("bash", "4.4", "PS0 with one fork"),
        ("bash", "4.3.48", "a DEBUG trap armed at the prompt"),
        ("bash", "3.2.57(1)-release", "a DEBUG trap armed at the prompt"),
        ("bash", "", "a DEBUG trap armed at the prompt"),
        ("zsh", "5.9", "preexec and precmd, no fork"),
        ("fish", "3.6.0", "fish_preexec and fish_postexec, one process a record"),
    ],
)
def test_the_technique_of_each_version_is_told_with_its_reason(name: str, version: str, chosen: str) -> None:
    choice = hooks.technique(name, version)

    assert choice.chosen == chosen
    assert choice.because


def test_the_hooks_are_where_they_are_looked_for() -> None:
    names = {"devtrace.bash", "devtrace.zsh", "devtrace.fish", "nested.bash", "zdotdir"}

    assert names <= {path.name for path in hooks.hooks_directory().iterdir()}


def test_choosing_a_shell_imports_nothing_heavy() -> None:
    """It runs before the shell is started, so every import is time that the user waits."""
    heavy = ("sqlite3", "dataclasses", "typer", "rich", "subprocess")
    code = "import sys; from devtrace.sources.shell.hooks import choose_shell"
    code += "; choose_shell('bash', {'PATH': '/bin:/usr/bin'})"
    code += f"; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_paths()
    )

    assert done.stdout == "[]\n"


def _paths() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
