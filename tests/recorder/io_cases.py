"""Programs that write and read in every way there is: recorded or not, the console must be the same.

In their code each `@@` becomes `@` and the number of its line: what is captured must say that line too. None
may print an address, a time or a process id.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """One program. `out`, `err`, `read`: what is captured of each stream; None: all that the console has."""

    name: str
    code: str
    stdin: bytes = b""
    out: bytes | None = None
    err: bytes | None = None
    read: bytes | None = None  # None: all of stdin
    variables: dict[str, str] = {}  # noqa: RUF012 - never changed
    closed: tuple[int, ...] = ()  # of the descriptors 0, 1 and 2
    merged: bool = False  # both streams into one pipe: their order counts too
    is_placed: bool = True  # its chunks say the right line
    is_captured: bool = True  # what is captured is held against the plain run


class Typed(NamedTuple):
    """One program at a terminal: `keys` are (what is waited for, what is typed then)."""

    name: str
    code: str
    keys: tuple[tuple[str, str], ...] = ()
    out: bytes | None = None  # what is captured; None: what the terminal shows, but for echo
    read: bytes = b""


_EXITS = """\
import os, sys
for code in ('"@@ bye"', "None", "1.5", "300", "True"):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        sys.exit(eval(code))
    print(code, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

_CHAIN = """\
def inner():
    raise KeyError("first é")
def outer():
    try:
        inner()
    except KeyError as error:
        raise ValueError("second") from error
print("@@ out")
try:
    outer()
except ValueError:
    [][1]
"""

_ATTRIBUTES = """\
import sys
for stream in (sys.stdin, sys.stdout, sys.stderr):
    for name in "encoding errors line_buffering newlines name mode closed write_through".split():
        print(name, getattr(stream, name))
    print(stream.isatty(), stream.fileno(), stream.readable(), stream.writable(), stream.seekable())
    print(stream.buffer.name, stream.buffer.mode, stream.buffer.raw.mode, stream.buffer.raw.closefd)
    print(type(stream), type(stream.buffer), type(stream.buffer.raw), stream.buffer.raw.name)
"""

_ASYNC = """\
import asyncio
async def speak(name):
    for number in range(3):
        print(f"@@ {name} {number}")
        await asyncio.sleep(0)
async def main():
    await asyncio.gather(*(asyncio.create_task(speak(name), name=name) for name in ("one", "two")))
asyncio.run(main())
"""

_RAISING = """\
import sys
sys.stdout.reconfigure(write_through=True)
for bad in ((1,), (), (b"x",), ("a", "b"), (None,)):
    for call in (sys.stdout.write, sys.stderr.write, sys.stdout.buffer.write):
        try:
            call(*bad)
        except Exception as error:
            print("@@", type(error).__name__, error)
print(sys.stdout.write(""), sys.stdout.buffer.write(b""))
sys.stdout.write(1)
"""

_MOVED = """\
import os, sys
print("@@ before", flush=True)
kept = os.dup(1)
file = os.open("moved.txt", os.O_WRONLY | os.O_CREAT)
os.dup2(file, 1)
print("@@ into the file", flush=True)
os.dup2(kept, 1)
print("@@ after")
sys.stderr.write(open("moved.txt").read().replace("@", "#"))
"""

_REENTRANT = """\
import os, signal, sys
class Loud:
    def __repr__(self):
        print("@@ in repr")
        return "Loud"
    def __str__(self):
        sys.stdout.write("@@ in str\\n")
        return "loud"
print(Loud(), [Loud()])
held = Loud()
signal.signal(signal.SIGUSR1, lambda *_: print("@@ handler"))
os.kill(os.getpid(), signal.SIGUSR1)
sorted([2, 1], key=lambda n: print("@@ key") or n)
print("@@ end")
"""

_PYTEST = """\
import sys, pytest
open("test_it.py", "w").write('''
import os, sys
def test_prints(capsys):
    print("seen")
    assert capsys.readouterr().out == "seen\\\\n"
def test_descriptors(capfd):
    os.system("echo child")
    print("own", flush=True)
    assert capfd.readouterr().out == "child\\\\nown\\\\n"
def test_fails():
    print("hello")
    assert False
def test_bytes(capsysbinary):
    sys.stdout.buffer.write(b"x")
    assert capsysbinary.readouterr().out == b"x"
''')
for capture in ("fd", "sys"):
    words = ["-p", "no:cacheprovider", "-q", "--capture", capture, "--no-header", "--tb=line"]
    print(int(pytest.main([*words, "-c", os.devnull, "test_it.py"])), flush=True)
""".replace("import sys, pytest", "import os, sys, pytest")

# fmt: off
CASES = [
    Case("01 partial lines",
         "import sys\nprint('@@ x', end='')\nsys.stdout.write('@@ y\\n')\nprint('@@ a', 'b', sep='')\n"
         "sys.stdout.write('@@ p'); sys.stdout.flush()\nprint('@@ q', flush=True)\n"
         "sys.stderr.write('@@ e\\n')\nprint(end='')\nprint()\nprint('@@ one\\n@@ two\\n@@ three', end='')\n"
         "def f():\n    print('@@ in f', end=' ')\n    g()\n    print('@@ again')\ndef g():\n"
         "    print('@@ in g', end=' ')\nf()\n"),
    Case("01 without buffers",
         "import sys\nprint('@@ a', 'b')\nprint('@@ c', end='')\nsys.stdout.buffer.write(b'@@ d\\n')\n"
         "print('@@')\n",
         variables={"PYTHONUNBUFFERED": "1"}, merged=True),
    Case("02 texts of a class of its own",
         "import sys\nclass Odd(str):\n    def __add__(self, other): 1 / 0\n"
         "    __radd__ = __getitem__ = __add__\n"
         "sys.stdout.write(Odd('@@ a '))\nsys.stdout.write('@@ b '); sys.stdout.write(Odd('c'))\n"
         "print(Odd('@@'), '@@', sep=Odd('-'), end=Odd('\\n'))\n"),
    Case("02 what write returns",
         "import sys\ncounts = [sys.stdout.write(t) for t in ('abc', '', '\\u00e9\\n', 'a\\r\\nb')]\n"
         "print(counts, sys.stderr.write('xy'), flush=True)\nprint(sys.stdout.buffer.write(b'123'))\n"),
    Case("03 writelines of a generator",
         "import sys\ndef parts():\n    yield 'a '\n    print('MID', end=' ')\n    yield 'b\\n'\n"
         "sys.stdout.writelines(parts())\nsys.stdout.writelines(['@@ one\\n', '@@ two\\n'])\n"),
    Case("04 bytes beside text",
         "import sys\nprint('@@ t1', flush=True)\nsys.stdout.buffer.write(b'\\xff\\xfe @@ raw\\n')\n"
         "sys.stdout.buffer.flush()\nprint('@@ t2')\nsys.stdout.flush()\n"
         "sys.stdout.buffer.writelines([b'one\\n', bytearray(b'two\\n'), memoryview(b'three')])\n"
         "sys.stdout.buffer.write(memoryview(b'abcdef')[::2])\n"
         "import array; sys.stdout.buffer.write(array.array('H', [0x4142, 0x430a]))\n"
         "sys.stdout.buffer.raw.write(b'')\n"),
    Case("04 bytes past a text that waits", "import sys\nprint('text')\n"
         "sys.stdout.buffer.write(b'bytes\\n')\n",
         out=b"text\nbytes\n"),  # the console has them the other way round: this is when they were written
    Case("05 surrogates", "print('@@ a\\udcffb')\nprint('@@ \\udcfe', end='')\n",
         variables={"PYTHONIOENCODING": "utf-8:surrogateescape"}),
    Case("06 stderr with backslashes", "import sys\nsys.stderr.write('@@ \\u00e9\\u20ac\\n')\n"
         "print('@@ ok')\n",
         variables={"PYTHONIOENCODING": "ascii"}),
    Case("07 latin-1", "print('@@ \\u00e9')\ntry:\n    print('\\u20ac')\n"
         "except UnicodeEncodeError as error:\n"
         "    print('@@', error)\nprint('@@ on')\nprint('x', '\\u20ac')\n",
         variables={"PYTHONIOENCODING": "latin-1"}),
    Case("07 utf-16", "print('a\\u00e9')\nprint('b')\n", variables={"PYTHONIOENCODING": "utf-16"}),
    Case("08 attributes", _ATTRIBUTES),
    Case("09 what the streams are",
         "import io, sys\nprint(isinstance(sys.stdout, io.TextIOWrapper), sys.stdout is sys.__stdout__,\n"
         "      sys.stderr is sys.__stderr__, sys.stdin is sys.__stdin__,\n"
         "      type(sys.stdout) is io.TextIOWrapper)\n"),
    Case("10 reconfigure",
         "import sys\nprint('@@ \\u00e9')\nsys.stdout.reconfigure(encoding='latin-1', line_buffering=True)\n"
         "print('@@ \\u00e9')\nsys.stdout.reconfigure(newline='\\r\\n')\nprint('@@ a\\nb')\n"
         "sys.stdout.reconfigure(encoding='utf-16-le', newline='\\n', write_through=True)\nprint('ab')\n"),
    Case("11 wrapped again",
         "import codecs, io, sys\nplain = sys.stdout\n"
         "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8', line_buffering=True)\n"
         "print('@@ \\u00fc')\ncodecs.getwriter('utf-8')(sys.stdout.buffer).write('@@ \\u00e9\\n')\n"
         "sys.stdout.flush()\nprint('@@ last')\nsys.stdout.flush()\n"
         "plain.write('@@ old\\n')\nplain.flush()\n"),
    Case("12 detach",
         "import io, sys\nprint('@@ pending')\nbelow = sys.stdout.detach()\nbelow.write(b'@@ below\\n')\n"
         "sys.stdout = io.TextIOWrapper(below, 'utf-8', write_through=True)\nprint('@@ above')\n"
         "try:\n    sys.__stdout__.write('x')\nexcept ValueError as error:\n    print('@@', error)\n"),
    Case("13 redirected",
         "import contextlib, io\nprint('@@ before')\nkept = io.StringIO()\n"
         "with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):\n    print('hidden')\n"
         "    print('hidden', file=__import__('sys').stderr)\n"
         "print('@@ after', len(kept.getvalue()))\n"),
    Case("14 log handlers",
         "import logging, sys\nlogging.basicConfig(format='%(message)s')\n"
         "handler = logging.StreamHandler(sys.stdout)\nlogging.getLogger().addHandler(handler)\n"
         "def f():\n    logging.warning('@@ warned')\nf()\nlogging.error('@@ %s', 'x')\n"),
    Case("15 descriptors beside", "import os, sys\nprint('1', flush=True)\nos.write(1, b'2\\n')\n"
         "print('3', flush=True)\n"
         "os.write(1, b'4\\n')\nos.write(2, b'e\\n')\n", out=b"1\n3\n", err=b""),
    Case("16 children beside", "import subprocess, sys\nprint('A', flush=True)\n"
         "subprocess.run(['sh', '-c', 'echo child; test -t 1; echo $?'])\nprint('B')\n", out=b"A\nB\n"),
    Case("17 faulthandler", "import faulthandler, sys\nfaulthandler.enable()\nprint('out', flush=True)\n"
         "sys.stdout.fileno()\nfaulthandler.enable(file=sys.stdout)\nprint(faulthandler.is_enabled())\n"),
    Case("18 input", "print('got', input('@@ name? '))\nprint(repr(input()))\ntry:\n    input('@@ more? ')\n"
         "except EOFError as error:\n    print('@@', error)\n", stdin=b"ana\nlast"),
    Case("19 reading in every way",
         "import sys\nprint(repr(next(sys.stdin)))\n"
         "for line in sys.stdin:\n    print(repr(line)); break\n"
         "print(repr(sys.stdin.readline()), repr(sys.stdin.readline(2)), repr(sys.stdin.read(3)))\n"
         "print(sys.stdin.readlines(3), repr(sys.stdin.read()), repr(sys.stdin.read()))\n",
         stdin=b"one\ntwo\nthree\nfour\nfive\nsix\r\nseven\n"),
    Case("20 what is no utf-8", "import sys\ntry:\n    print(sys.stdin.readline())\n"
         "except UnicodeDecodeError as error:\n    print('@@', error)\n", stdin=b"ok\xff\nmore\n",
         variables={"PYTHONIOENCODING": "utf-8:strict"}),
    Case("20 what is no utf-8, escaped", "import sys\nfor line in sys.stdin:\n    print(ascii(line))\n",
         stdin=b"ok\xff\nmore\n", variables={"PYTHONIOENCODING": "utf-8:surrogateescape"}),
    Case("21 bytes of stdin",
         "import sys\nfrom_raw = bytearray(4)\n"
         "print(sys.stdin.buffer.raw.read(3), sys.stdin.buffer.raw.readinto(from_raw),"
         " from_raw)\nprint(sys.stdin.buffer.read(2), sys.stdin.buffer.readline(),\n"
         "      sys.stdin.buffer.peek()[:2],\n"
         "      sys.stdin.buffer.read1(1), sys.stdin.buffer.read())\nprint(sys.stdin.buffer.raw.readall())\n",
         stdin=b"abcdefghijk\nlmnop\nq"),
    Case("22 select on stdin", "import select, sys\n"
         "print([one.fileno() for one in select.select([sys.stdin], [], [], 5)[0]])\n"
         "print(sys.stdin.readline())\n", stdin=b"x\n"),
    Case("23 stdout closed",
         "import sys\nprint('x')\nprint(sys.stdout, sys.__stdout__, file=sys.stderr)\n", closed=(1,)),
    Case("23 all closed", "import sys\nprint('x')\nopen('a.txt', 'w').write('y')\nsys.exit(4)\n",
         closed=(0, 1, 2)),
    Case("24 stdin closed", "import sys\nprint(sys.stdin)\ninput()\n", closed=(0,)),
    Case("26 a chain of tracebacks", _CHAIN, merged=True),
    Case("27 warnings", "import warnings\ndef f():\n"
         "    warnings.warn('old', DeprecationWarning, stacklevel=2)\nf()\n"
         "warnings.warn('here')\n"),
    Case("28 at exit", "import atexit, sys\natexit.register(lambda: print('@@ bye'))\n"
         "atexit.register(sys.stderr.write, 'last')\nprint('@@ out')\n"),
    Case("29 a thread that fails", "import threading\ndef work():\n    print('@@ in')\n    1 / 0\n"
         "thread = threading.Thread(target=work, name='w')\n"
         "thread.start()\nthread.join()\nprint('@@ out')\n"),
    Case("30 fork", "import os, sys\nprint('@@ pending')\nsys.stdout.flush()\n"
         "print('@@ unflushed', end='|')\n"
         "if not os.fork():\n    print('@@ child')\n    sys.exit(0)\n"
         "os.wait()\nprint('@@ parent')\n", out=b"@2 pending\n@4 unflushed|@6 child\n@9 parent\n"),
    Case("31 stdout closed by itself", "import sys\nprint('@@ out')\nsys.stdout.close()\n"
         "sys.stderr.write('@@ still\\n')\n"
         "sys.stdout.write('no')\n"),
    Case("32 click", "import click\nclick.echo('@@ text')\nclick.secho('@@ red', fg='red')\n"
         "click.echo(b'@@ bytes \\xff')\nclick.echo('@@ err', err=True)\n"
         "click.echo(click.style('@@ kept', bold=True), color=True)\n"),
    Case("33 rich", "from rich.console import Console\nfrom rich.table import Table\nimport rich\n"
         "Console().print('[bold]@@ hello[/bold]')\ntable = Table('a', 'b')\ntable.add_row('1', '2')\n"
         "Console(width=40, force_terminal=True).print(table)\nrich.print('@@ rich')\n"
         "with Console().status('working'):\n    print('@@ within')\n"
         "Console(stderr=True, log_time=False).log('@@ logged')\n",
         variables={"COLUMNS": "80"}, is_placed=False),
    Case("34 bars", "import sys\nfor number in range(40):\n"
         "    sys.stderr.write(f'\\r@@ {number:3}%|' + '#' * (number // 8))\n    sys.stderr.flush()\n"
         "sys.stderr.write('\\n')\n"),
    Case("35 more than a pipe holds", "import sys\nsys.stdout.write('x' * 1_300_000 + '\\n')\n"
         "print('@@ end')\n"
         "sys.stdout.flush()\nsys.stdout.buffer.write(b'y\\n' * 200_000)\nprint(*range(30_000))\n"),
    Case("36 attributes of the program's", "import sys\nsys.stdout.foo = 1\nprint(sys.stdout.foo)\n"
         "del sys.stdout.foo\n"
         "print(hasattr(sys.stdout, 'foo'))\n"),
    Case("37 the C library", "import ctypes, sys\nprint('A', flush=True)\nlibrary = ctypes.CDLL(None)\n"
         "library.printf(b'printf %d\\n', 3)\nlibrary.fflush(None)\nprint('B')\n", out=b"A\nB\n"),
    Case("38 what write refuses", _RAISING, merged=True),
    Case("39 a descriptor that moves", _MOVED, out=b"@2 before\n@6 into the file\n@8 after\n"),
    Case("40 exits", _EXITS, merged=True, is_placed=False),
    Case("40 a message at exit", "import sys\nprint('@@ out')\nsys.exit('bye \\u00e9')\n"),
    Case("41 interrupted", "print('@@ out')\ntry:\n    raise KeyboardInterrupt\nfinally:\n"
         "    print('@@ finally')\n",
         merged=True),
    Case("42 the main module", "import pickle, sys\nclass A:\n    def __eq__(self, other): return True\n"
         "print(pickle.loads(pickle.dumps(A())) == A(), sys.argv, __name__, sys.path[0] != '')\n"),
    Case("43 every byte", "import sys\nprint('a\\rb\\0c\\x1b[1md\\r\\ne\\x0bf\\x85g\\u2028h')\n"
         "sys.stdout.flush()\nsys.stdout.buffer.write(bytes(range(256)) * 3)\n"),
    Case("45 at the very end", "class A:\n    def __del__(self):\n        print('in del')\na = A()\ndel a\n"
         "b = A()\n",
         out=b"in del\n"),
    Case("46 code.interact", "import code\ncode.interact('hi', local={}, exitmsg='end')\n",
         stdin=b"print('said')\n1 + 1\n1/0\n"),
    Case("53 tasks", _ASYNC),
    Case("54 writes within writes", _REENTRANT),
    Case("55 muted", "import sys\n\n"
         "from devtrace.recorder.streams import ScopedMuteIoCapture\nprint('@@ before')\n"
         "with ScopedMuteIoCapture():\n    print('unseen')\n    sys.stderr.write('unseen')\n"
         "    with ScopedMuteIoCapture():\n        print('unseen')\n    print('unseen')\nprint('@@ after')\n",
         out=b"@4 before\n@11 after\n", err=b""),
    Case("57 gone without a flush", "import os, sys\nprint('@@ told', flush=True)\nprint('@@ lost')\n"
         "sys.stderr.write('@@ e')\n"
         "os._exit(3)\n", out=b"@2 told\n@3 lost\n", err=b"@4 e"),
    Case("58 replaced",
         "import io, os, sys\nprint('@@ before')\nclass Mine(io.TextIOWrapper):\n    pass\n"
         "sys.stdout = Mine(open(1, 'wb', closefd=False), 'utf-8', line_buffering=True)\n"
         "sys.__stdout__.flush()\n"
         "print('@@ mine')\nprint('@@ mine again')\nsys.stdout = sys.__stdout__\nprint('@@ back')\n"),
    Case("58 a stream without attributes",
         "import sys\nclass Bare:\n    __slots__ = ()\n"
         "    def write(self, text): return sys.__stdout__.write(text)\n"
         "    def flush(self): sys.__stdout__.flush()\nbare = Bare()\nsys.stdout = bare\nprint('bare')\n"
         "print(sys.stdout is bare)\n"),
    Case("59 pytest", _PYTEST, is_placed=False, is_captured=False),
]
# fmt: on

# fmt: off
TYPED = [
    Typed("47 a terminal's properties",
          "import os, sys\nprint('@@', [one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr)])\n"
          "print('@@', os.get_terminal_size(), os.get_terminal_size(sys.stdout.fileno()))\n"
          "print('@@', sys.stdout.line_buffering, sys.stdin.line_buffering)\n"
          "sys.stderr.write('@@ err\\n')\n"),
    Typed("48 input at a terminal",
          "import readline\nprint('@@ hello', input('@@ name? '))\nprint('@@', repr(input('and? ')))\n"
          "try:\n    input('@@ more? ')\nexcept EOFError:\n    print('@@ end')\n",
          (("name. ", "ana\r"), ("and. ", "two words\r"), ("more. ", "\x04")),
          out=b"@2 name? @2 hello ana\nand? @3 'two words'\n@5 more? @7 end\n", read=b"ana\ntwo words\n"),
    Typed("48 lines of a terminal",
          "import sys\nprint('@@ go')\nfor line in sys.stdin:\n    print('@@', line, end='')\n",
          (("go\r\n", "a\r"), ("@4 a\r\n", "b\r"), ("@4 b\r\n", "\x04")),
          out=b"@2 go\n@4 a\n@4 b\n", read=b"a\nb\n"),
    Typed("49 colours",
          "import click\nfrom rich.console import Console\nclick.secho('@@ red', fg='red')\n"
          "Console(log_path=False).print('[bold red]bold[/]')\n"
          "print(Console().width, Console().is_terminal)\n",
          out=b"\x1b[31m@3 red\x1b[0m\n\x1b[1;31mbold\x1b[0m\n80 True\n"),
    Typed("50 a child's terminal",
          "import subprocess, sys\nprint('@@ A', flush=True)\n"
          "subprocess.run(['sh', '-c', 'test -t 1 && test -t 2 && test -t 0; echo $?'])\nprint('@@ B')\n",
          out=b"@2 A\n@4 B\n"),
    Typed("51 a password",
          "import getpass, sys, termios\nprint('@@', len(getpass.getpass('Password: ')))\n"
          "kept = termios.tcgetattr(0)\nquiet = kept[:]\nquiet[3] &= ~termios.ECHO\n"
          "termios.tcsetattr(0, termios.TCSAFLUSH, quiet)\nprint('@@ more?')\n"
          "print('@@', len(sys.stdin.readline()))\n"
          "print('@@', len(input('@@ and? ')))\ntermios.tcsetattr(0, termios.TCSAFLUSH, kept)\n",
          (("Password: ", "canary-7one\r"), ("more.\r\n", "canary-7two\r"), ("and. ", "canary-7three\r")),
          out=b"@2 11\n@7 more?\n@8 12\n@9 and? @9 13\n"),
    Typed("58 a console of its own",
          "import code\ncode.interact('hi', exitmsg='end')\n",
          ((">>> ", "print('said')\r"), ("said\r\n>>> ", "\x04")),
          out=b">>> said\n>>> ", read=b"print('said')\n"),
]
# fmt: on
