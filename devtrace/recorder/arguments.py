"""The recorder's command line: options, and then a target to which everything behind it belongs.

Lives here: the options and what they set, where parsing stops, the help. Parsed by hand: argparse would be
half of what starting costs, and does not stop at the target by itself.
Not here: what a target is found to be (targets.py), running it (launch.py), `devtrace record`
(cli/record.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from devtrace.recorder.errors import UsageError

PROGRAM = "python -m devtrace.recorder"
_WIDTH = 40  # of the help's first column

FORMATS = ("binary", "json", "binaryv0", "binary_v0", "b0")
_IO = ("off", "proxies", "proxies+fd")
_FALSE = ("", "0", "f", "false", "n", "no", "off", "none")
_MODULES = {"--pytest": "pytest", "--unittest": "unittest"}  # a target that needs no word of its own


class Option:
    """One option: what it sets, and to what. `metavar` "" means that it takes no word of its own."""

    __slots__ = ("choices", "key", "meaning", "metavar", "names", "repeats", "value")

    def __init__(
        self,
        names: str,
        key: str,
        meaning: str,
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        repeats: bool = False,
        value: bool = True,
    ):
        self.names = tuple(names.split())
        self.key = key
        self.meaning = meaning
        self.metavar = metavar or "|".join(choices)
        self.choices = choices
        self.repeats = repeats
        self.value = value


_OWN = (
    Option("-h --help", "help", "show this help and exit"),
    Option("-V --version", "version", "show the version and exit"),
    Option("-o --out-dir --trace-dir", "out_dir", "write the trace there too", metavar="DIR"),
    Option("--format", "format", "of what is written there: binary or json", metavar="NAME", choices=FORMATS),
    Option("--activation-path", "activation_path", "begin where this file is entered", metavar="PATH"),
    Option("--trace-filter", "filters", "a filter file, or several by ::", metavar="PATH", repeats=True),
    Option(
        "--only", "only", "record this only: MODULE, MODULE:FUNC, FILE:FUNC", metavar="WHAT", repeats=True
    ),
    Option("--python", "python", "the interpreter; default: the target's, else your own", metavar="PATH"),
)
_POLICY = (
    Option("--detail", "detail", "how much is recorded", choices=("calls", "lines", "values")),
    Option("--follow", "follow", "which child processes are recorded too", choices=("none", "python", "all")),
    Option("--engine", "engine", "how Python is listened to", choices=("auto", "monitoring", "settrace")),
    Option("--io-capture --capture-io", "io_capture", "what of input and output is recorded", choices=_IO),
    Option(
        "--on-recorder-error",
        "on_recorder_error",
        "what a failure of ours means",
        choices=("abort", "disable"),
    ),
    Option("--require-trace", "require_trace", "fail when no trace was written"),
    Option("--keep-partial-trace", "keep_partial_trace", "keep what a failed trace has written"),
    Option("--log-level", "log_level", "our own log: LEVEL or TARGET=LEVEL, by commas", metavar="LEVELS"),
    Option("--log-file", "log_file", "where our own log is appended; default: stderr", metavar="PATH"),
    Option("--json-errors --codetracer-json-errors", "json_errors", "tell an error of ours as JSON too"),
    Option("--module-name-from-globals", "module_name_from_globals", "call a module as its globals say"),
    Option("--no-module-name-from-globals", "module_name_from_globals", "call it by its path", value=False),
    Option("--propagate-script-exit", "propagate_script_exit", "exit as the target does; the default"),
    Option("--no-propagate-script-exit", "propagate_script_exit", "exit with 0 once recorded", value=False),
)
_BY_NAME = {name: option for option in (*_OWN, *_POLICY) for name in option.names}
_POLICY_KEYS = {option.key for option in _POLICY}


class Target:
    """What is to be run, as it was asked for.

    `kind` is name (a path, or a console script), module, code or stdin; targets.py makes script or folder
    of a name.
    """

    __slots__ = ("arguments", "kind", "name", "source")

    def __init__(self, kind: str, name: str, arguments: Sequence[str] = ()):
        self.kind = kind
        self.name = name
        self.arguments = list(arguments)
        self.source = b""  # of a script and of stdin, once it is read

    @property
    def words(self) -> list[str]:
        """How plain `python` is asked for it."""
        before = {"module": ["-m", self.name], "code": ["-c", self.name], "stdin": ["-"]}
        return [*before.get(self.kind, [self.name]), *self.arguments]


class Options:
    """What a command line says. `passed` is all of it but `--python`, for the recorder that it starts."""

    __slots__ = (
        "activation_path",
        "filters",
        "format",
        "help",
        "only",
        "out_dir",
        "passed",
        "policy",
        "python",
        "target",
        "version",
    )

    def __init__(self) -> None:
        self.help = False
        self.version = False
        self.out_dir: str | None = None
        self.format = ""
        self.activation_path: str | None = None
        self.filters: list[str] = []
        self.only: list[str] = []
        self.python: str | None = None
        self.policy: dict[str, str | bool] = {}  # what the command line alone sets of policy.KEYS
        self.passed: list[str] = []
        self.target: Target | None = None  # None: only help or the version was asked for

    @property
    def json_errors(self) -> bool:
        """Whether an error of ours is told as JSON too."""
        return bool(self.policy.get("json_errors"))

    def take(self, option: Option, value: str | bool) -> None:
        """Set what the option sets."""
        if option.key in _POLICY_KEYS:
            self.policy[option.key] = value
        elif option.repeats:
            getattr(self, option.key).append(value)
        else:
            setattr(self, option.key, value)


def parse(words: Sequence[str], *, program: str = PROGRAM) -> Options:
    """Read options up to the target. Raises UsageError ERR_USAGE."""
    options = Options()
    at = 0
    while at < len(words):
        end = at + 1
        name, equals, value = words[at].partition("=")
        option = _BY_NAME.get(name) if name.startswith("--") else _BY_NAME.get(words[at])
        if option is None or (option.key == "python" and program == PROGRAM):
            options.target = _target(words, at, program)
            options.passed += words[at:]
            return options
        if not option.metavar:
            if equals:
                raise _usage(f"option {name} takes no value", program)
            options.take(option, option.value)
        else:
            if not (equals and name.startswith("--")):
                name, value, end = words[at], _next(words, at, program), at + 2
            options.take(option, _chosen(option, name, value, program))
        if option.key in ("help", "version"):
            return options
        if option.key != "python":
            options.passed += words[at:end]
        at = end
    raise _usage("no script, module or code to run", program)


def is_off(environment: Mapping[str, str]) -> bool:
    """Whether the environment wants the target run, and not recorded."""
    disabled = environment.get("CODETRACER_PYTHON_RECORDER_DISABLED", "")
    record = environment.get("DEVTRACE_RECORD")
    return is_true(disabled) or (record is not None and record != "" and not is_true(record))


def is_true(word: str) -> bool:
    """Whether a variable's value means yes; DEVTRACE_RECORD may name a level of detail."""
    return word.strip().lower() not in _FALSE


def usage(program: str = PROGRAM) -> str:
    """The help."""
    options = [option for option in (*_OWN, *_POLICY) if option.key != "python" or program != PROGRAM]
    rows = [(", ".join(option.names) + (f" {option.metavar}" if option.metavar else ""), option.meaning)
            for option in options]  # fmt: skip
    rows.append(("--pytest, --unittest ...", "the same as -m pytest, -m unittest"))
    return (
        f"usage: {program} [options] SCRIPT|-m MODULE|-c CODE|- [ARGUMENT ...]\n\n"
        "Run a Python program as plain python would, and record what it does.\n\n"
        "options:\n"
        + "".join(f"  {words:<{_WIDTH}}  {meaning}\n" for words, meaning in rows)
        + "\nSCRIPT may be a folder or zip file with a __main__.py, a console script on PATH, `pytest` or\n"
        "`unittest`. What stands behind it is its own.\n\n"
        f"Example:\n  {program} --detail lines app.py --port 8000\n  {program} pytest -q\n\n"
        "The exit status is the program's own; 1 for its 0 when the recorder failed, 2 for a wrong option.\n"
    )


def _target(words: Sequence[str], at: int, program: str) -> Target:
    word = words[at]
    if word == "--":
        if at + 1 == len(words):
            raise _usage("no script, module or code to run", program)
        first = words[at + 1]
        if first in ("-m", "-c", "-"):
            return _target(words, at + 1, program)
        return Target("name", first, words[at + 2 :])
    if word in _MODULES:
        return Target("module", _MODULES[word], words[at + 1 :])
    if word == "-":
        return Target("stdin", "-", words[at + 1 :])
    if word[:2] in ("-m", "-c"):
        kind = "module" if word[1] == "m" else "code"
        if word[2:]:  # -mMODULE, as python takes it
            return Target(kind, word[2:], words[at + 1 :])
        return Target(kind, _next(words, at, program), words[at + 2 :])
    if word.startswith("-"):
        raise _usage(f"no such option: {word}", program)
    return Target("name", word, words[at + 1 :])


def _next(words: Sequence[str], at: int, program: str) -> str:
    if at + 1 >= len(words):
        raise _usage(f"option {words[at]} needs a value", program)
    return words[at + 1]


def _chosen(option: Option, name: str, value: str, program: str) -> str:
    if option.choices and value not in option.choices:
        raise _usage(f"option {name} takes {', '.join(option.choices)}, not {value!r}", program)
    if not value and option.key not in ("log_level", "log_file"):  # which "" clears
        raise _usage(f"option {name} needs a value", program)
    return value


def _usage(message: str, program: str) -> UsageError:
    return UsageError(message, code="ERR_USAGE", hint=f"see `{program} --help`")
