"""What the hooks cost: a command at the prompt, a loop of 100,000 steps there, a `bash -c` of an agent.

Each shell sits on a pseudo-terminal of its own with the same prompt: bare, with our hooks (and a reader on
the FIFO), and with two designs that others use. They take turns, twenty commands a turn, each typed as soon
as the prompt is back, so that whatever else the machine does meets all of them alike. A hook's cost is its
median less the bare shell's. After a pause the first command costs more: then the processor has to find
everything in memory again, the shell's own code included.

The peers are minimal stand-ins of a technique, written for this file:
    date            `$(date +%s)` before and after, `$(pwd)`, the text cut out of `history 1` by sed
    standing trap   bash-preexec's technique: a DEBUG trap that stays set and looks at every simple command,
                    one fork for the text, arrays of functions called before and after
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import Row
from benchmarks.prompt import Prompt, Shell, devtrace, drained, home, median_ms, row, shells
from devtrace.ids import new_session_id
from devtrace.sources.shell import hooks

_DATE_BASH = r"""
__date_pre() {
  [[ -n $__date_ready ]] || return 0
  __date_ready=
  __date_text=$(history 1 | sed 's/^ *[0-9]* *//')
  __date_start=$(date +%s)
}
__date_post() {
  local status=$?
  printf '%s\t%s\t%s\t%s\t%s\n' "$__date_start" "$(date +%s)" "$status" "$(pwd)" "$__date_text" >>"$HOME/log"
  __date_ready=1
}
trap __date_pre DEBUG
PROMPT_COMMAND=__date_post
"""
_DATE_ZSH = r"""
__date_pre() { __date_text=$(echo "$1" | sed 's/^ *//'); __date_start=$(date +%s); }
__date_post() {
  local status_=$?
  printf '%s\t%s\t%s\t%s\t%s\n' "$__date_start" "$(date +%s)" "$status_" "$(pwd)" "$__date_text" >>"$HOME/log"
}
preexec_functions+=(__date_pre)
precmd_functions+=(__date_post)
"""
_DATE_FISH = r"""
function __date_pre --on-event fish_preexec
    set -g __date_text (echo $argv[1] | sed 's/^ *//')
    set -g __date_start (date +%s)
end
function __date_post --on-event fish_postexec
    set -l last $status
    printf '%s\t%s\t%s\t%s\t%s\n' $__date_start (date +%s) $last (pwd) "$__date_text" >>$HOME/log
end
"""
_TRAP_BASH = r"""
preexec_functions=(__trap_begin) precmd_functions=(__trap_end) __trap_at_prompt=
__trap_begin() { __trap_text=$1; }
__trap_end() { printf '%s\t%s\n' "$?" "$__trap_text" >>"$HOME/log"; }
__trap_status() { return "$1"; }
__trap_each_command() {
  local status=$? last=$1 text each
  [[ -z ${COMP_LINE-} && -n $__trap_at_prompt ]] || return 0
  for each in "${PROMPT_COMMAND[@]}"; do
    [[ $BASH_COMMAND != "$each" ]] || { __trap_at_prompt=; return 0; }
  done
  __trap_at_prompt=
  text=$(LC_ALL=C HISTTIMEFORMAT='' builtin history 1)
  text=${text#*[[:digit:]][* ] }
  [[ -n $text ]] || return 0
  for each in "${preexec_functions[@]}"; do
    if type -t "$each" >/dev/null; then __trap_status "$status" "$last"; "$each" "$text"; fi
  done
  __trap_status "$status" "$last"
}
__trap_prompt() {
  local status=$? last=$_ each
  for each in "${precmd_functions[@]}"; do
    if type -t "$each" >/dev/null; then __trap_status "$status" "$last"; "$each"; fi
  done
  __trap_status "$status" "$last"
}
__trap_ready() { __trap_at_prompt=1; }
PROMPT_COMMAND=$'__trap_prompt\n__trap_ready'
trap '__trap_each_command "$_"' DEBUG
"""
_DATE = {"bash": _DATE_BASH, "zsh": _DATE_ZSH, "fish": _DATE_FISH}
_LOOPS = {
    "bash": "for ((i=0; i<{n}; i++)); do :; done",
    "zsh": "for ((i=0; i<{n}; i++)); do :; done",
    "fish": "for i in (seq {n}); end",
}
_STEPS = 100_000
_COMMANDS = 20  # a turn


def measure(*, quick: bool = False) -> list[Row]:
    """The rows of every shell, then of the whole way through `devtrace shell`, then of nested shells."""
    rows: list[Row] = []
    for shell in shells():
        rows += at_the_prompt(shell, turns=3 if quick else 15)
        rows += loop(shell, turns=3 if quick else 9)
    rows += through_the_host(turns=3 if quick else 15)
    rows += nested(rounds=60 if quick else 400)
    return rows


def at_the_prompt(shell: Shell, turns: int) -> list[Row]:
    """One command at the prompt: ours, and each peer's, over the bare shell."""
    with ExitStack() as stack:
        contenders = {"bare": bare(stack, shell), "ours": ours(stack, shell)}
        contenders["$(date +%s) design"] = bare(stack, shell, _DATE[shell.name])
        if shell.name == "bash":
            contenders["bash-preexec's technique"] = bare(stack, shell, _TRAP_BASH)
        medians = taking_turns(contenders, lambda number: f": {number}", turns)
    cost = {name: median - medians["bare"] for name, median in medians.items()}
    budget = budget_of(shell)
    made = [
        row(f"{shell.label}: the hook, a command", cost["ours"], name, cost[name], budget=budget)
        for name in list(contenders)[2:]
    ]
    whole = row(f"{shell.label}: Enter to prompt", medians["ours"], "bare shell", medians["bare"])
    return [*made, whole]


def budget_of(shell: Shell) -> str:
    """By what the shell lets a hook do."""
    if shell.name == "fish":
        return "<= 4 ms"  # 2 ms a record, two records a command
    if shell.name == "bash" and shell.version < (5, 3):
        return "<= 0.8 ms"
    return "<= 0.15 ms"


def loop(shell: Shell, turns: int) -> list[Row]:
    """A loop of 100,000 steps at the prompt: nothing of ours may run inside it."""
    with ExitStack() as stack:
        contenders = {"bare": bare(stack, shell), "ours": ours(stack, shell)}
        text = _LOOPS[shell.name].format(n=_STEPS)
        medians = taking_turns(contenders, lambda _: text, turns, commands=1)
        what = f"{shell.label}: a loop of {_STEPS:,}"
        made = [row(what, medians["ours"], "bare shell", medians["bare"], budget="<= 1.05x")]
        if shell.path == shutil.which("bash"):
            trapped = bare(stack, shell, _TRAP_BASH).enter(text) * 1000
            made.append(row(what, medians["ours"], "bash-preexec's technique", trapped))
    return made


def through_the_host(turns: int) -> list[Row]:
    """Enter to prompt through all of `devtrace shell`, with script's pseudo-terminal beside it."""
    shell = shells()[0]
    with ExitStack() as stack:
        contenders = {"bare": bare(stack, shell), "ours": traced(stack, shell)}
        if shutil.which("script"):
            contenders["script"] = bare(stack, shell, argv=["script", "-qc", shell.path, os.devnull])
        medians = taking_turns(contenders, lambda number: f": {number}", turns)
    what = f"{shell.label}: Enter to prompt in `devtrace shell`"
    return [row(what, medians["ours"], name, medians[name]) for name in contenders if name != "ours"]


def nested(rounds: int) -> list[Row]:
    """`bash -c true` as an agent starts it: with our BASH_ENV part, over a bare one."""
    made = []
    for shell in shells():
        if shell.name == "fish":
            continue
        with ExitStack() as stack:
            environments = nested_environments(stack, shell)
            times: dict[str, list[float]] = {name: [] for name in environments}
            for _ in range(rounds):
                for name, environment in environments.items():
                    begun = time.perf_counter()
                    pid = os.posix_spawn(shell.path, [shell.name, "-c", "true"], environment)
                    os.waitpid(pid, 0)
                    times[name].append(time.perf_counter() - begun)
        medians = {name: median_ms(values) for name, values in times.items()}
        over = medians["ours"] - medians["bare"]
        made.append(row(f"{shell.label}: `-c true`, nested, over bare", over, budget="<= 0.3 ms"))
        made.append(row(f"{shell.label}: `-c true`, nested", medians["ours"], "bare shell", medians["bare"]))
    return made


def nested_environments(stack: ExitStack, shell: Shell) -> dict[str, dict[str, str]]:
    """The environments of `-c true`: bare, and as inside a traced command with a reader on the FIFO."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    plain = {**home(folder, shell.name), "DEVTRACE_SPAN": "1234567890123456"}
    session = hooks.new_session(new_session_id(), folder, "codex", folder)
    stack.enter_context(drained(session.fifo))
    traced_environment = {**plain, **hooks.session_environment(session)}
    return {"bare": plain, "ours": hooks.with_nested_parts(traced_environment, "codex", "first")}


def bare(stack: ExitStack, shell: Shell, more: str = "", argv: Sequence[str] = ()) -> Prompt:
    """A shell at its prompt whose start-up file does `more`."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return _opened(stack, argv or [shell.path, "-i"], home(folder, shell.name, more), folder)


def ours(stack: ExitStack, shell: Shell) -> Prompt:
    """A shell at its prompt with our hooks, marks and a reader on the FIFO, and no host between."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    environment = home(folder, shell.name)
    private = Path(tempfile.mkdtemp(dir=environment["XDG_RUNTIME_DIR"]))
    session = hooks.new_session(new_session_id(), folder, "manual", private)
    stack.callback(shutil.rmtree, hooks.scratch_directory(private), ignore_errors=True)
    request = hooks.Request(shell.name, shell.path, login=False, piped=False, marks=[Path("/dev/tty")])
    plan = hooks.plan(session, request, environment)
    stack.enter_context(drained(session.fifo))
    return _opened(stack, plan.argv, plan.environment, folder)


def traced(stack: ExitStack, shell: Shell) -> Prompt:
    """A shell at its prompt inside a real `devtrace shell`."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    environment = home(folder, shell.name)
    return _opened(stack, devtrace("shell", "--no-login", "--shell", shell.path), environment, folder)


def taking_turns(
    contenders: dict[str, Prompt], line: Callable[[int], str], turns: int, commands: int = _COMMANDS
) -> dict[str, float]:
    """The median milliseconds of each; who begins changes every turn, and the first turn is practice."""
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns + 1):
        names = [*names[1:], names[0]]
        for name in names:
            took = [contenders[name].enter(line(turn * commands + number)) for number in range(commands)]
            contenders[name].settle()
            times[name] += took if turn else []
    return {name: statistics.median(values) * 1000 for name, values in times.items()}


def _opened(stack: ExitStack, argv: Sequence[str], environment: dict[str, str], folder: Path) -> Prompt:
    prompt = Prompt(argv, environment, folder)
    stack.callback(prompt.close)
    prompt.first()
    prompt.settle()
    return prompt


if __name__ == "__main__":
    from benchmarks.__main__ import main

    main(["--only", "hooks"])
