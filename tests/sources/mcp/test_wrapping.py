"""Our proxy in front of a command: it is started where devtrace is, and where it is not the server is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from devtrace.sources.mcp import wrapping
from devtrace.sources.mcp.wrapping import prefix, proxied, script, standing
from tests.processes import DEADLINE

ODD_WORDS = ["a b", "", "it's", 'say "x"', "$HOME", "${HOME}", "$(id)", "`id`", "back\\slash", "*", "~",
             "two\nlines", "-c", "--", "é\u2028", "--name=other", "!", "(", ";", "&", "|"]  # fmt: skip
# What clients take for variables: Claude Code, Cursor, VS Code, Cline; Gemini CLI; opencode.
VARIABLES = [r"\$\{[^}]*\}", r"\$[A-Za-z_]\w*", r"\{(env|file):[^}]*\}"]
TELLS = "import json, os, sys; print(json.dumps([{name!r}, os.getpid(), *sys.argv[1:]]))"


def program(folder: Path, name: str, body: str) -> Path:
    """A program that tells its arguments, as a line of JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return path


def devtrace(folder: Path, name: str = "devtrace") -> Path:
    asked = "import sys\nif sys.argv[1:] == ['mcp', 'proxy', '--help']: sys.stdin.read(); sys.exit(0)\n"
    return program(folder, name, asked + TELLS.format(name=name))


@pytest.fixture
def server(tmp_path: Path) -> str:
    return str(program(tmp_path / "server place", "a server", TELLS.format(name="server")))


def start(
    words: Sequence[str], path: Path | str = "", *, shell: Sequence[str] | None = None, **environ: str
) -> tuple[list[object], str]:
    """What the started program told, and what stood on stderr; `shell` in the place of /bin/sh."""
    environment = {"PATH": f"{path}:/usr/bin:/bin", "HOME": os.environ["HOME"], **environ}
    process = subprocess.Popen(
        [*(shell or words[:1]), *words[1:]], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate("for the server", timeout=DEADLINE)
    told = json.loads(out) if out else [None, None]
    assert told[1] in (process.pid, None), "it is not the process that the client started"
    return [told[0], *told[2:]], err


def in_front(run: str, *words: str, name: str = "files") -> list[str]:
    return proxied(words, name, run)


# --- what the shell does ----------------------------------------------------------------------------------


def test_the_proxy_is_started_with_the_servers_own_words(tmp_path: Path, server: str) -> None:
    ours = devtrace(tmp_path / "our place")

    told, err = start(in_front(script([str(ours)], ""), server, *ODD_WORDS, name="my 'files' é"))

    assert told == ["devtrace", "mcp", "proxy", "--name=my 'files' é", "--", server, *ODD_WORDS]
    assert err == ""


def test_without_devtrace_the_server_is_started_alone(server: str) -> None:
    told, err = start(in_front(script(["/nowhere/python", "-m", "devtrace"], ""), server, *ODD_WORDS))

    assert (told, err) == (["server", *ODD_WORDS], "")


def test_another_devtrace_on_the_path_will_do(tmp_path: Path, server: str) -> None:
    devtrace(tmp_path / "bin")

    told, _ = start(in_front(script(["/nowhere/devtrace"], ""), server, "x"), tmp_path / "bin")

    assert told == ["devtrace", "mcp", "proxy", "--name=files", "--", server, "x"]


def test_ours_goes_before_the_one_on_the_path(tmp_path: Path, server: str) -> None:
    ours = devtrace(tmp_path / "ours", "devtrace-ours")
    devtrace(tmp_path / "bin")

    told, _ = start(in_front(script([str(ours)], ""), server), tmp_path / "bin")

    assert told[0] == "devtrace-ours"


@pytest.mark.parametrize(
    "body",
    ["import no_such_module", "import sys; sys.exit(2)", "import os, signal; os.kill(os.getpid(), 9)"],
    ids=["half-removed", "too-old", "killed"],
)
def test_a_devtrace_that_does_not_start_is_passed_over(tmp_path: Path, server: str, body: str) -> None:
    broken = program(tmp_path / "bin", "devtrace", body)

    told, _ = start(in_front(script([str(broken)], ""), server, "x"), tmp_path / "bin")

    assert told == ["server", "x"]


def test_a_devtrace_whose_python_is_gone_is_passed_over(tmp_path: Path, server: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "devtrace").write_text("#!/nowhere/venv/bin/python\n")
    (tmp_path / "bin" / "devtrace").chmod(0o755)

    told, err = start(in_front(script([str(tmp_path / "bin" / "devtrace")], ""), server), tmp_path / "bin")

    assert (told, err) == (["server"], "")


def test_what_the_client_says_is_left_for_the_server(tmp_path: Path) -> None:
    broken = program(tmp_path / "bin", "devtrace", "import sys; sys.stdin.read(); sys.exit(1)")
    echoes = program(tmp_path, "echoes", "import os, sys, json\nprint(json.dumps([sys.stdin.read(), None]))")

    told, _ = start(in_front(script([str(broken)], ""), str(echoes)))

    assert told == ["for the server"]


SHELLS = [["dash"], ["bash", "--posix"], ["zsh", "--emulate", "sh"], ["busybox", "sh"]]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_every_shell_that_may_be_bin_sh_does_so(shell: list[str], tmp_path: Path, server: str) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"because {shell[0]} is missing")  # some machine has it as its sh, and not each
    ours = devtrace(tmp_path / "it's ours")
    run = script([str(ours)], "")

    with_it, _ = start(in_front(run, server, *ODD_WORDS), shell=shell)
    ours.unlink()
    without, err = start(in_front(run, server, *ODD_WORDS), shell=shell)

    assert with_it == ["devtrace", "mcp", "proxy", "--name=files", "--", server, *ODD_WORDS]
    assert (without, err) == (["server", *ODD_WORDS], "")


def test_the_real_devtrace_is_found_and_passes_the_bytes_of_a_server(tmp_path: Path) -> None:
    run = script([sys.executable, "-E", "-P", "-m", "devtrace"], "")
    shadow = program(tmp_path / "shadow", "json.py", "raise SystemExit('a module of the server')")
    words = in_front(run, "cat", name="cat")

    environ = {**os.environ, "PYTHONPATH": str(shadow.parent)}
    done = subprocess.run(
        words, input=b"not even JSON\n", capture_output=True, timeout=DEADLINE, check=False,
        cwd=shadow.parent, env=environ,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, b"not even JSON\n", b"")


# --- the words --------------------------------------------------------------------------------------------


def test_no_client_takes_a_part_of_the_script_for_a_variable() -> None:
    run = script(["/opt/a$b/${HOME}/$USER{env:X}/python", "-m", "devtrace"], "")

    found = [re.findall(pattern, run.replace("${HOME}", "")) for pattern in VARIABLES[:2]]

    assert found == [[], []]
    assert [re.findall(pattern, script(["/opt/python"], "")) for pattern in VARIABLES] == [[], [], []]


@pytest.mark.parametrize(
    ("first", "written"),
    [
        ("/home/ana/venv/bin/python", "~/venv/bin/python -m x"),
        ("/home/ana/my venv/bin/python", "~/'my venv/bin/python' -m x"),
        ("/home/ana-b/python", "/home/ana-b/python -m x"),
        ("/opt/python", "/opt/python -m x"),
    ],
)
def test_what_is_below_the_home_is_written_without_its_name(first: str, written: str) -> None:
    assert script([first, "-m", "x"], "/home/ana").startswith(f"{written} mcp proxy")
    assert script([first, "-m", "x"], "/home/ana/").startswith(f"{written} mcp proxy")


def test_a_program_below_the_home_is_found_there(tmp_path: Path, server: str) -> None:
    devtrace(Path(os.environ["HOME"]) / "a place" / "bin")
    run = script([f"{os.environ['HOME']}/a place/bin/devtrace"], os.environ["HOME"])

    assert os.environ["HOME"] not in run
    assert start(in_front(run, server))[0][0] == "devtrace"


def test_a_command_with_ours_is_told_from_its_own() -> None:
    words = in_front("true", "npx", "-y", "--", "server")

    assert words[prefix(words) :] == ["npx", "-y", "--", "server"]
    assert words[:2] == ["/bin/sh", "-c"]


def test_ours_again_replaces_ours_and_keeps_what_the_user_put_there() -> None:
    words = in_front("old", "npx", "server", name="old name")
    words.insert(5, "--frames")

    again = proxied(words, "new name", "new")

    assert again == ["/bin/sh", "-c", "new", "devtrace-mcp-proxy", "--name=new name", "--frames", "--", "npx",
                     "server"]  # fmt: skip
    assert proxied(again, "new name", "new") == again


def test_whether_there_was_a_list_of_arguments_is_remembered() -> None:
    without = proxied(["server"], "x", "run", has_list=False)

    assert not wrapping.had_list(without)
    assert not wrapping.had_list(proxied(without, "x", "new"))
    assert wrapping.had_list(proxied(["server"], "x", "run"))
    assert prefix(without) == len(without) - 1


@pytest.mark.parametrize("words", [
    [], ["npx", "-y", "devtrace-mcp-proxy"], ["/bin/sh", "-c", "x", "devtrace-mcp-proxy"],
    ["/bin/sh", "-c", "x", "devtrace-mcp-proxy", "--name=a", "--"], ["sh", "-c", "x", "other", "--", "y"],
    ["/bin/sh", "-x", "x", "devtrace-mcp-proxy", "--", "y"],
])  # fmt: skip
def test_what_only_looks_like_ours_is_not(words: list[str]) -> None:
    assert prefix(words) == 0


def test_a_name_that_no_argument_can_be_loses_what_it_may_not_have() -> None:
    assert "--name=ab" in in_front("run", "x", name="a\0b")


# --- what an entry is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"command": "npx", "args": ["-y", "x"]}, "plain"),
        ({"command": "npx"}, "plain"),
        ({"type": "stdio", "command": "/opt/My App/bin/server"}, "plain"),
        ({"type": "local", "command": ["npx", "x"]}, "plain"),
        ({"command": "npx", "url": "http://kept.example"}, "plain"),
        ({"type": "http", "url": "https://a.example/mcp"}, "remote"),
        ({"url": "https://a.example/sse"}, "remote"),
        ({"httpUrl": "https://a.example/mcp"}, "remote"),
        ({"serverUrl": "https://a.example/mcp"}, "remote"),
        ({"type": "remote", "url": "https://a.example/mcp"}, "remote"),
        ({"type": "streamableHttp", "url": "https://a.example", "command": ""}, "remote"),
        ({"command": "devtrace", "args": ["mcp", "serve"]}, "ours"),
        ({"command": "/opt/venv/bin/devtrace", "args": ["mcp", "proxy", "--", "x"]}, "ours"),
        ({"command": "python3", "args": ["-E", "-P", "-m", "devtrace", "mcp", "serve"]}, "ours"),
        ({"type": "local", "command": ["devtrace", "mcp", "serve"]}, "ours"),
        ({"command": "devtrace", "args": ["log"]}, "plain"),
        ({"command": "npx", "args": "x"}, "odd"),
        ({"command": "npx", "args": ["x", 1]}, "odd"),
        ({"command": "npx", "args": None}, "odd"),
        ({"command": 3}, "odd"),
        ({"command": []}, "odd"),
        ({"command": ""}, "odd"),
        ({"command": "npx -y server"}, "odd"),
        ({"type": "sdk"}, "odd"),
        ({}, "odd"),
    ],
)
def test_an_entry_is_known_by_its_fields(fields: dict[str, object], kind: str) -> None:
    assert standing(fields).kind == kind


def test_what_is_left_as_it_is_says_why() -> None:
    assert "a line" in standing({"command": "npx -y server"}).told
    assert "no command" in standing({}).told
    assert "list" in standing({"command": "npx", "args": "x"}).told
    assert standing({"httpUrl": "https://a.example/mcp"}).told == "https://a.example/mcp"
    assert standing({"command": "/bin/sh", "args": in_front("run", "x")[1:]}).kind == "proxied"
