"""The real coding agents, run against the scripted model with nothing but loopback to talk to.

    with ModelServer(repo) as server:
        done = run(CLAUDE_CODE, repo, "Greet Ana [script:main]", server)

Each client says how it is started, in which environment, and which files it wants in its home; the home is
the test's own, and the real one is refused. Whatever it would ask of anybody but the model goes to the model
server as its proxy, which refuses and remembers it.

Lives here: the clients, and `run`. Not here: their versions and how they are installed (.ci/clients), what
the model says (scripts.py).
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from tests.agents.model import ModelServer
from tests.agents.scripts import EXIT_CODE
from tests.agents.wire import Result

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = CHECKOUT / ".clients"
PATIENCE_S = 90.0  # for a whole run: reached only when something is broken
PARTING_S = 3.0  # for what a client leaves running when it has ended

# What the developer may have exported for clients of his own, and what would send these elsewhere.
_FOREIGN = ("AGENT", "AI_AGENT", "ANTHROPIC_", "AWS_", "BUN_", "CLAUDE", "CODEX_", "GEMINI_", "GOOGLE_")
_FOREIGN += ("NODE_OPTIONS", "NPM_CONFIG_", "OPENAI_", "OPENCODE", "OTEL_")
_MARK = "SCRIPTED_RUN"  # in the environment of all that a run started, so that it can be found again


class Client:
    """What all of them answer to. `environment` is what is added to the test's own."""

    name: str
    package: str  # what `make clients` calls it
    binary: str
    is_required = False  # under DEVTRACE_REQUIRE_ALL=1

    @property
    def program(self) -> Path:
        """Where `make clients` puts it."""
        return INSTALLED / self.package / "node_modules" / ".bin" / self.binary

    def is_installed(self) -> bool:
        return self.program.exists() and shutil.which("node") is not None

    def command(self, prompt: str) -> list[str]:
        """How one prompt is played to its end, without a terminal and without a question."""
        raise NotImplementedError

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        raise NotImplementedError

    def prepare(self, home: Path, repo: Path, server: ModelServer) -> None:
        """Write what it wants to find in its home."""

    def tells_failure(self, result: Result, stdout: str) -> bool:
        """Whether what came of the script's failing command says that it failed, and with which status."""
        raise NotImplementedError


class ClaudeCode(Client):
    name = package = "claude-code"
    binary = "claude"
    is_required = True

    def command(self, prompt: str) -> list[str]:
        options = ["--model", "claude-sonnet-4-5", "--dangerously-skip-permissions"]
        return [str(self.program), "-p", prompt, *options, "--output-format", "stream-json", "--verbose"]

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": server.url,
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
            "IS_SANDBOX": "1",  # it refuses to skip permissions as root without this
        }

    def tells_failure(self, result: Result, stdout: str) -> bool:
        return result.is_error and result.text.startswith(f"Exit code {EXIT_CODE}\n")


class Codex(Client):
    """With a model of our own: it is offered `apply_patch` and subagents as tools, and not in a program."""

    name = package = "codex"
    binary = "codex"
    is_required = True
    model: ClassVar[dict[str, object]] = {}

    def command(self, prompt: str) -> list[str]:
        options = ["--json", "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust"]
        return [str(self.program), "exec", *options, prompt]

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        return {"SCRIPTED_KEY": "scripted"}

    def prepare(self, home: Path, repo: Path, server: ModelServer) -> None:
        _write_json(home / ".codex" / "models.json", {"models": [{**_CODEX_MODEL, **self.model}]})
        places = {"models": home / ".codex" / "models.json", "url": server.url, "repo": repo}
        _write(home / ".codex" / "config.toml", _CODEX_CONFIG.format(**places))

    def tells_failure(self, result: Result, stdout: str) -> bool:
        return f"Process exited with code {EXIT_CODE}\n" in result.text


class CodexCodeMode(Codex):
    """As its newest models work: the model writes programs, and these call the tools."""

    name = "codex-code-mode"
    model: ClassVar[dict[str, object]] = {"tool_mode": "code_mode_only"}

    def tells_failure(self, result: Result, stdout: str) -> bool:
        return f'"exit_code":{EXIT_CODE},' in result.text


class Opencode(Client):
    name = package = "opencode"
    binary = "opencode"

    def command(self, prompt: str) -> list[str]:
        return [str(self.program), "run", "--format", "json", "--auto", prompt]

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        switched_off = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "SHARE")
        return {
            **{f"OPENCODE_DISABLE_{what}": "1" for what in switched_off},
            "npm_config_fetch_retries": "0",  # or it waits 70 seconds for a registry that it cannot reach
        }

    def prepare(self, home: Path, repo: Path, server: ModelServer) -> None:
        options = {"baseURL": f"{server.url}/v1", "apiKey": "scripted"}
        model = {"name": "scripted", "tool_call": True, "limit": {"context": 200_000, "output": 8_000}}
        provider = {"npm": "@ai-sdk/openai-compatible", "name": "scripted", "options": options}
        config = home / ".config" / "opencode"
        self._pretend_to_have_plugins(config)
        _write_json(
            config / "opencode.json",
            {
                "model": "scripted/model",
                "small_model": "scripted/model",
                "autoupdate": False,
                "share": "disabled",
                "provider": {"scripted": {**provider, "models": {"model": model}}},
            },
        )

    def _pretend_to_have_plugins(self, config: Path) -> None:
        """It installs the types for plugins into each of its directories that has them in no lock file."""
        (config / "node_modules").mkdir(parents=True, exist_ok=True)
        have = {"dependencies": {"@opencode-ai/plugin": "*"}}
        _write_json(config / "package-lock.json", {"packages": {"": have}})

    def tells_failure(self, result: Result, stdout: str) -> bool:
        """Its model is told the output alone; the status is in the events that it prints."""
        return result.text == "no such greeting\n" and f'"exit":{EXIT_CODE},' in stdout


class Gemini(Client):
    name = package = "gemini"
    binary = "gemini"

    def command(self, prompt: str) -> list[str]:
        options = ["-m", "gemini-2.5-pro", "--approval-mode", "yolo", "--output-format", "stream-json"]
        return [str(self.program), "-p", prompt, *options]

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        return {
            "GEMINI_API_KEY": "scripted",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GOOGLE_GEMINI_BASE_URL": server.url,
        }

    def prepare(self, home: Path, repo: Path, server: ModelServer) -> None:
        _write_json(
            home / ".gemini" / "settings.json",
            {
                "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
                "privacy": {"usageStatisticsEnabled": False},
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "telemetry": {"enabled": False},
            },
        )

    def tells_failure(self, result: Result, stdout: str) -> bool:
        return f"\nExit Code: {EXIT_CODE}\n" in result.text


# No plugins and no apps: it would fetch their lists from its maker.
_CODEX_CONFIG = """\
model = "scripted"
model_provider = "scripted"
model_catalog_json = "{models}"
check_for_update_on_startup = false

[features]
apps = false
plugins = false
remote_plugin = false

[analytics]
enabled = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0

[projects."{repo}"]
trust_level = "trusted"
"""
_CODEX_MODEL: dict[str, object] = {
    "slug": "scripted",
    "display_name": "Scripted",
    "description": "Follows a script.",
    "base_instructions": "Follow the script.",
    "apply_patch_tool_type": "freeform",
    "context_window": 200_000,
    "experimental_supported_tools": [],
    "multi_agent_version": "v1",
    "priority": 1,
    "shell_type": "unified_exec",
    "support_verbosity": False,
    "supported_in_api": True,
    "supported_reasoning_levels": [],
    "supports_parallel_tool_calls": True,
    "supports_search_tool": False,
    "truncation_policy": {"mode": "tokens", "limit": 10_000},
    "visibility": "list",
}

CLAUDE_CODE, CODEX, CODEX_CODE_MODE = ClaudeCode(), Codex(), CodexCodeMode()
OPENCODE, GEMINI = Opencode(), Gemini()
CLIENTS: tuple[Client, ...] = (CLAUDE_CODE, CODEX, CODEX_CODE_MODE, OPENCODE, GEMINI)


def run(
    client: Client,
    repo: Path,
    prompt: str,
    server: ModelServer,
    extra_env: Mapping[str, str] | None = None,
    *,
    through: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
    parting_s: float = PARTING_S,
) -> subprocess.CompletedProcess[str]:
    """Play a prompt in `repo` to its end; `through` are words before the command: `devtrace run --`, say.

    The home is the test's own. Nothing that the client started is left running.
    """
    home = _own_home()
    assert not repo.resolve().is_relative_to(CHECKOUT), "a client must never work in this checkout"
    client.prepare(home, repo, server)
    environment = {**whole_environment(client, home, server), **(extra_env or {})}
    return _play([*through, *client.command(prompt)], repo, environment, patience_s, parting_s)


def whole_environment(client: Client, home: Path, server: ModelServer) -> dict[str, str]:
    """The test's environment without the developer's own settings, with the client's, and with no way out."""
    own = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), server.url)
    quiet = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "NO_COLOR": "1"}
    return {**own, **proxies, **quiet, "HOME": str(home), **client.environment(home, server)}


def _is_foreign(name: str) -> bool:
    return name.upper().startswith(_FOREIGN) or name.upper().endswith("_PROXY")


def _own_home() -> Path:
    home = Path(os.environ["HOME"])
    assert home.resolve() != Path(pwd.getpwuid(os.getuid()).pw_dir).resolve(), "this is somebody's real home"
    return home


def _play(
    argv: list[str], repo: Path, environment: dict[str, str], patience_s: float, parting_s: float
) -> subprocess.CompletedProcess[str]:
    """To files and not to pipes: a process that is left behind must not keep us waiting for their end."""
    mark = f"{_MARK}={uuid4().hex}"
    # A client may take $PWD for the place where it works, as opencode does: it must never be the tests' own.
    environment = {**environment, _MARK: mark.partition("=")[2], "PWD": str(repo)}
    environment.pop("OLDPWD", None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            argv,
            cwd=repo,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = -signal.SIGKILL
        finally:
            _end_what_is_left(mark, parting_s)
        return subprocess.CompletedProcess(argv, status, _written(out), _written(err))


def _end_what_is_left(mark: str, parting_s: float) -> None:
    """Give it a moment to end by itself; then by force, each process by its id."""
    deadline = time.monotonic() + parting_s
    while (left := running(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)  # they are nobody's children of ours: nothing tells of their end
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def running(mark: str) -> list[int]:
    """The processes whose environment has this line; none where there is no /proc to look into."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _has_mark(folder, mark.encode())]


def _has_mark(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or it is another user's
        return False


def _written(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_json(path: Path, told: object) -> None:
    _write(path, json.dumps(told, indent=2))
