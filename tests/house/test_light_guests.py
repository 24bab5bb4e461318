"""Guests are light: what runs inside other people's programs brings little of the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
HEAVY = {"dataclasses", "inspect", "tomllib", "importlib.metadata", "logging", "asyncio", "sqlite3", "ssl"}

POLICY = sorted(
    f"devtrace.policy.{file.stem}" for file in (CHECKOUT / "devtrace" / "policy").glob("[!_]*.py")
)
GUESTS = ["devtrace", "devtrace.errors", "devtrace.ids", "devtrace.choices", "devtrace.workspace"]
GUESTS += ["devtrace.policy", *POLICY, "devtrace.store.spool"]
AGENTS = sorted(file.stem for file in (CHECKOUT / "devtrace" / "sources" / "agents").glob("[!_]*.py"))
AGENTS.remove("opencode_database")  # read when transcripts are, by no hook
RECORDER = sorted(file.stem for file in (CHECKOUT / "devtrace" / "recorder").glob("[!_]*.py"))
GUESTS += ["devtrace.recorder", *(f"devtrace.recorder.{name}" for name in RECORDER)]
GUESTS += ["devtrace.recorder.formats.codetracer"]
PROBES = sorted(file.stem for file in (CHECKOUT / "devtrace" / "probes").glob("[!_]*.py"))
GUESTS += ["devtrace.probes", *(f"devtrace.probes.{name}" for name in PROBES)]
MCP = sorted(file.stem for file in (CHECKOUT / "devtrace" / "sources" / "mcp").glob("[!_]*.py"))
MCP = [name for name in MCP if name not in ("http", "listener", "relay")]  # of servers reached by HTTP
GUESTS += ["devtrace.sources.json_text", *(f"devtrace.sources.mcp.{name}" for name in MCP)]
PROXY = sorted(file.stem for file in (CHECKOUT / "devtrace" / "services" / "mcp_proxy").glob("[!_]*.py"))
GUESTS += [f"devtrace.services.mcp_proxy.{name}" for name in PROXY]
GUESTS += ["devtrace.services.agent_hook", *(f"devtrace.sources.agents.{name}" for name in AGENTS)]


def modules_after_importing(guest: str) -> set[str]:
    # -I -S: no site-packages to import from, as the hooks of agents are started.
    program = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import {guest}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    return set(loaded.stdout.split())


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_needs_the_light_part_of_the_standard_library_only(guest: str) -> None:
    loaded = modules_after_importing(guest)

    assert loaded & HEAVY == set()
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"devtrace"}
    assert foreign <= {"__main__", "_distutils_hack", "sitecustomize", "usercustomize"}


def test_configuration_reaches_a_guest_without_a_toml_parser() -> None:
    assert "tomllib" not in modules_after_importing("devtrace.config")
