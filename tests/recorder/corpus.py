"""Programs whose output and exit status must not depend on whether they are recorded.

Each is one case of plain-run identity (test_identity.py). None may print an address, a time or a process id,
or look at the stack below its own first frame.
"""

from __future__ import annotations

from typing import NamedTuple

SCRIPT = "script.py"


class Case(NamedTuple):
    """One program: `words` behind `python`, in a folder that holds `files`; its code is in script.py."""

    name: str
    code: str = ""
    words: tuple[str, ...] = (SCRIPT,)
    stdin: bytes = b""
    files: dict[str, str | bytes] = {}  # noqa: RUF012 - never changed
    zips: dict[str, dict[str, str]] = {}  # noqa: RUF012 - as above
    merged: bool = False  # both streams into one pipe: their order counts too
    closed: tuple[int, ...] = ()  # of the descriptors 0, 1 and 2
    options: tuple[str, ...] = ()  # of the interpreter


_SPAWNING = """\
import multiprocessing as mp, sys
def work(number):
    print("child", number, __name__, flush=True)
    return number * number
if __name__ == "__main__":
    context = mp.get_context({!r})
    with context.Pool(1) as pool:
        print(pool.map(work, [1, 2, 3]))
    child = context.Process(target=sys.exit, args=(3,))
    child.start(); child.join(); print(child.exitcode)
"""

_LOOK = """\
import sys
names = {name: value for name, value in globals().items() if name not in ("sys", "__builtins__")}
print([*names])
print(__name__, __doc__, __package__, __spec__ and __spec__.name, names.get("__file__"))
print(names.get("__cached__"), names.get("__annotations__"), type(__loader__).__name__)
print(sys.argv, sys.orig_argv[1:], sys.path)
print(sys.modules["__main__"].__dict__ is globals(), type(__builtins__).__name__)
"""

_CHAIN = """\
def inner():
    raise KeyError("first")
def outer():
    try:
        inner()
    except KeyError as error:
        raise ValueError("second") from error
try:
    outer()
except ValueError:
    [][1]
"""

_EXITS = {
    "nothing": "None", "zero": "0", "three": "3", "true": "True", "false": "False", "minus": "-1",
    "large": "300", "huge": "1 << 70", "text": "'went wrong'", "empty": "''", "float": "1.5",
    "tuple": "(1, 'a')", "nested": "SystemExit(4)", "surrogate": "'\\udcff'", "bytes": "b'x'", "list": "[]",
}  # fmt: skip

# fmt: off
CASES = [
    Case("main_of_a_script", _LOOK),
    Case("main_by_a_relative_path", _LOOK, ("./sub/../script.py", "a"), files={"sub/x": ""}),
    Case("main_of_a_script_elsewhere", "", ("sub/s.py", "-x", "--help"), files={"sub/s.py": _LOOK}),
    Case("main_of_code", "", ("-c", _LOOK, "a", "-m")),
    Case("main_of_joined_code", "", ("-cimport sys; print(sys.argv)", "a")),
    Case("main_of_stdin", "", ("-", "a", "b"), stdin=_LOOK.encode()),
    Case("main_of_a_module", _LOOK, ("-m", "script", "a")),
    Case("main_of_a_package", "", ("-m", "pkg", "a"),
         files={"pkg/__init__.py": "", "pkg/__main__.py": _LOOK}),
    Case("main_of_a_submodule", "", ("-m", "pkg.sub"), files={"pkg/__init__.py": "", "pkg/sub.py": _LOOK}),
    Case("main_of_a_folder", "", ("dir", "a"), files={"dir/__main__.py": _LOOK}),
    Case("main_of_a_zip", "", ("app.pyz", "a"), zips={"app.pyz": {"__main__.py": _LOOK}}),
    Case("a_folder_without_a_main", "", ("dir",), files={"dir/x.py": ""}),
    Case("a_package_without_a_main", "", ("-m", "pkg"), files={"pkg/__init__.py": ""}),
    Case("no_such_module", "", ("-m", "nowhere")),
    Case("a_module_that_fails_to_import", "", ("-m", "p.m"), files={"p/__init__.py": "1/0", "p/m.py": ""}),
    Case("safe_path", _LOOK, options=("-P",)),
    Case("flags", "import sys; print(sys.flags, sys._xoptions, sys.warnoptions, __debug__)",
         options=("-O", "-X", "dev", "-W", "ignore", "-B")),
    Case("isolated", _LOOK, options=("-I",)),
    Case("isolated_module", "", ("-m", "this"), options=("-I",)),
    Case("siblings", "import other; print(other.x)", files={"other.py": "x = 1"}),
    Case("siblings_named_as_ours", "import policy, errors, values; print(policy.x)",
         files={"policy.py": "x = 1", "errors.py": "", "values.py": "", "launch.py": "1/0"}),
    Case("environment", "import os; print(sorted(os.environ.items()))"),
    Case("pickling", "import pickle\nclass A:\n    x = 1\n    def __eq__(self, o): return type(o) is A\n"
         "print(pickle.dumps(A()), pickle.loads(pickle.dumps(A())) == A())"),
    Case("names_at_exit", "import atexit\natexit.register(lambda: print(sorted(globals())))"),
    Case("names_at_exit_after_failing", "import atexit\n"
         "atexit.register(lambda: print(sorted(globals())))\n1/0"),
    Case("names_at_exit_after_leaving", "import atexit\n"
         "atexit.register(lambda: print(sorted(globals())))\nexit(3)"),
    *(Case(f"exit_{name}", f"print('out')\nraise SystemExit({code})", merged=True)
      for name, code in _EXITS.items()),
    Case("exit_by_sys", "import sys\ntry:\n    sys.exit('bye')\nfinally:\n    print('finally')"),
    Case("exit_of_two", "raise SystemExit(1, 2)"),
    Case("exit_of_a_subclass", "class Bye(SystemExit):\n    code = 7\nraise Bye(3)"),
    Case("exit_unprintable", "class A:\n    def __str__(self): 1/0\nraise SystemExit(A())"),
    Case("exit_of_a_module", "print('out')\nraise SystemExit('bye')", ("-m", "script"), merged=True),
    Case("exit_of_code", "", ("-c", "print('out'); raise SystemExit('bye')"), merged=True),
    Case("exit_in_a_thread", "import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,))\n"
         "t.start(); t.join(); print('on')"),
    Case("exit_at_exit", "import atexit, sys\natexit.register(sys.exit, 3)"),
    Case("exit_in_del", "import sys\nclass A:\n    def __del__(self): sys.exit(3)\n"
         "a = A(); del a; print('on')"),
    Case("underscore_exit", "import os; print('lost'); os._exit(5)"),
    Case("abort", "import os, sys; print('lost'); sys.stderr.write('e\\n'); os.abort()"),
    Case("killed", "import os, signal; print('out', flush=True); os.kill(os.getpid(), signal.SIGKILL)"),
    Case("exec", "import os, sys; print('a', flush=True); os.execv(sys.executable, ['', '-c', 'print(2)'])"),
    Case("failing", "def f(x):\n    return 1 / x\nprint('out')\nf(0)", merged=True),
    Case("failing_module", "def f(x):\n    return 1 / x\nprint('out')\n"
         "f(0)", ("-m", "script"), merged=True),
    Case("failing_folder", "", ("dir",), files={"dir/__main__.py": "print('out')\n1/0"}, merged=True),
    Case("failing_zip", "", ("a.zip",), zips={"a.zip": {"__main__.py": "1/0"}}),
    Case("failing_code", "", ("-c", "def f():\n    1/0\nf()"), merged=True),
    Case("failing_stdin", "", ("-",), stdin=b"print('out')\ndef f():\n    1/0\nf()\n", merged=True),
    Case("failing_import", "import other", files={"other.py": "def f(): 1/0\nf()"}),
    Case("chained", _CHAIN),
    Case("notes_and_groups", "e = ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [TypeError()])])\n"
         "e.add_note('look here')\nraise e"),
    Case("failing_in_exec", "exec(compile('def g():\\n  1/0\\ng()', 'made.py', 'exec'))"),
    Case("recursion", "def f(): f()\ntry:\n    f()\nexcept RecursionError as e: print(e)\nf()"),
    Case("recursion_handled", "def f(n):\n    try:\n        return f(n + 1)\n    except RecursionError:\n"
         "        return sum(x for x in (1, 2, 3))\nprint(f(0))"),
    Case("recursion_of_generators", "def g(n):\n    yield n\n    yield from g(n + 1)\n"
         "def h(n):\n    yield n\n    for x in h(n + 1): yield x\n"
         "for f in (g, h):\n    try:\n        for x in f(0): pass\n"
         "    except RecursionError: print('limit')"),
    Case("metaclasses", "class M(type):\n    def __eq__(self, other): print('asked')\n"
         "class A(metaclass=M): pass\nclass E(Exception, metaclass=M): pass\n"
         "def f(a, *rest):\n    try: raise E(a)\n    except E as e: b = [a, e, A]\n    return b\nf(A())"),
    Case("base_exception", "class E(BaseException): pass\nraise E('x')"),
    Case("generator_exit", "raise GeneratorExit"),
    Case("assertion", "assert 1 == 2, 'no'"),
    Case("unprintable", "class E(Exception):\n    def __str__(self): 1/0\nraise E"),
    Case("syntax", "print(1)\ndef f(:\n    pass\n"),
    Case("syntax_in_a_module", "def f(:\n", ("-m", "script")),
    Case("syntax_in_code", "", ("-c", "def f(:")),
    Case("syntax_in_stdin", "", ("-",), stdin=b"x = (\n"),
    Case("syntax_in_an_import", "import other", files={"other.py": "x = = 1"}),
    Case("indentation", "if 1:\n\tx = 1\n        y = 2\n"),
    Case("outside_a_function", "return 3"),
    Case("unclosed", 'x = """abc\n'),
    Case("not_utf8", files={SCRIPT: b'x = "caf\xe9"\n'}),
    Case("null_bytes", files={SCRIPT: b"x = 1\0\n"}),
    Case("unknown_encoding", files={SCRIPT: b"# coding: nope\nx = 1\n"}),
    Case("wrong_encoding", files={SCRIPT: b"# coding: ascii\nx = '\xc3\xa9'\n"}),
    Case("latin1", files={SCRIPT: b"# coding: latin-1\nprint(ascii('\xe9'))\n1/0 # \xe9\n"}),
    Case("bom", files={SCRIPT: b"\xef\xbb\xbfprint(1)\nprint(__file__)\n"}),
    Case("crlf_and_no_end", files={SCRIPT: b"print(1)\r\nif 1:\r\n    1/0"}),
    Case("syntax_warnings", "x = '\\d'\nprint(1 is 1)\n"),
    Case("syntax_warnings_as_errors", "x = '\\d'\n", options=("-W", "error")),
    Case("warnings", "import warnings\ndef f(): warnings.warn('old', DeprecationWarning, stacklevel=2)\n"
         "f()\nwarnings.warn('here')"),
    Case("warnings_as_errors", "import warnings\nwarnings.warn('x')", options=("-W", "error")),
    Case("excepthook", "import sys\ndef hook(t, v, tb):\n    print(t, v, tb.tb_lineno, tb.tb_next)\n"
         "sys.excepthook = hook\nprint('a')\n1/0", merged=True),
    Case("excepthook_of_last", "import sys, atexit\n"
         "sys.excepthook = lambda *a: print(sys.last_value is a[1])\n"
         "atexit.register(lambda: print(sys.last_traceback.tb_lineno, sys.last_type))\n1/0"),
    Case("excepthook_failing", "import sys\ndef hook(*a): [][0]\nsys.excepthook = hook\n1/0"),
    Case("excepthook_leaving", "import sys\nsys.excepthook = lambda *a: sys.exit(9)\n1/0"),
    Case("excepthook_missing", "import sys\ndel sys.excepthook\n1/0"),
    Case("excepthook_none", "import sys\nsys.excepthook = None\n1/0"),
    Case("interrupted", "print('out')\nraise KeyboardInterrupt('x')", merged=True),
    Case("interrupted_by_a_signal", "import os, signal, atexit\natexit.register(print, 'bye')\n"
         "os.kill(os.getpid(), signal.SIGINT)\nprint('no')"),
    Case("interrupted_module", "import atexit\natexit.register(print, 'bye')\n"
         "raise KeyboardInterrupt", ("-m", "script")),
    Case("interrupted_code", "", ("-c", "raise KeyboardInterrupt")),
    Case("interrupted_subclass", "class K(KeyboardInterrupt): pass\nraise K"),
    Case("interrupted_with_a_hook", "import sys, atexit\nsys.excepthook = lambda *a: print('hook', a[1])\n"
         "atexit.register(lambda: print(sys.excepthook.__name__, sys.last_value))\n"
         "raise KeyboardInterrupt(1)"),
    Case("signals", "import signal, os\n"
         "signal.signal(signal.SIGUSR1, lambda *a: print('got', a[0], a[1].f_code.co_name))\n"
         "os.kill(os.getpid(), signal.SIGUSR1)\nsignal.alarm(0)\nprint(signal.getsignal(signal.SIGINT))"),
    Case("terminated", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    Case("thread_failing", "import threading\nt = threading.Thread(target=lambda: 1/0, name='worker')\n"
         "t.start(); t.join()"),
    Case("thread_failing_by_raise", "import threading\ndef f():\n    try: [][0]\n"
         "    except IndexError: raise ValueError\n"
         "t = threading.Thread(target=f, name='w')\nt.start(); t.join(); print('on')"),
    Case("thread_outliving", "import threading, atexit\ngo = threading.Event()\n"
         "threading.Thread(target=lambda: (go.wait(5), print('late'))).start()\n"
         "atexit.register(print, 'exit')\nprint('main')\ngo.set()"),
    Case("thread_locals", "import threading\nn = []\ndef f():\n    for i in range(100): n.append(i)\n"
         "ts = [threading.Thread(target=f) for _ in range(8)]\n"
         "[t.start() for t in ts]; [t.join() for t in ts]\nprint(len(n))"),
    Case("unraisable", "class A:\n    def __del__(self): raise ValueError('in del')\n"
         "del_me = A(); del del_me"),
    Case("unraisable_at_exit", "class A:\n    def __del__(self): print('del', __name__)\na = A()\n"
         "b = [A()]; b.append(b)"),
    Case("atexit", "import atexit\natexit.register(print, 1)\natexit.register(print, 2)\n"
         "@atexit.register\ndef f(): 1/0\n"
         "import sys; sys.exit(4)"),
    Case("atexit_cleared", "import atexit\natexit.register(print, 1)\natexit._clear()\nprint(2)"),
    Case("fork", "import os, sys\npid = os.fork()\nif not pid:\n    print('child'); sys.exit(3)\n"
         "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"),
    Case("fork_failing", "import os\npid = os.fork()\nif not pid: 1/0\n"
         "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"),
    Case("multiprocessing_fork", _SPAWNING.format("fork")),
    Case("multiprocessing_spawn", _SPAWNING.format("spawn")),
    Case("multiprocessing_spawn_of_a_module", _SPAWNING.format("spawn"), ("-m", "script")),
    Case("multiprocessing_forkserver", _SPAWNING.format("forkserver")),
    Case("process_pool", "from concurrent.futures import ProcessPoolExecutor as P\n"
         "import multiprocessing as mp\n"
         "if __name__ == '__main__':\n"
         "    with P(1, mp_context=mp.get_context('spawn')) as p: print(p.submit(pow, 2, 5).result())"),
    Case("subprocesses", "import subprocess, sys\n"
         "print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.path[0])'],"
         " capture_output=True))\nsubprocess.run([sys.executable, '-c', '1/0'])\n"
         "import os; print(os.system('exit 3'))"),
    Case("asyncio", "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    return n\n"
         "async def main():\n    print(await asyncio.gather(f(1), f(2)))\n"
         "    async with asyncio.TaskGroup() as g:\n"
         "        t = g.create_task(f(3))\n    print(t.result()); raise ValueError('out')\n"
         "asyncio.run(main())"),
    Case("asyncio_never_awaited", "async def f(): pass\nf()\nprint(1)"),
    Case("generators", "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\n"
         "x = g(); print(next(x)); x.close()\n"
         "y = g(); next(y); y.throw(KeyError('in'))"),
    Case("runpy", "import runpy\nprint(runpy.run_path('other.py', run_name='__main__')['x'])\n"
         "runpy.run_module('other')",
         files={"other.py": "import sys\nx = (__name__, sys.argv, __file__)\nprint(x)\n"
         "assert __name__ != 'other'"}),
    Case("zipapp", "import zipapp, subprocess, sys\nzipapp.create_archive('app', 'app.pyz')\n"
         "print(subprocess.run([sys.executable, 'app.pyz', 'a']).returncode)",
         files={"app/__main__.py": "import sys, lib; print(lib.x, sys.argv)", "app/lib.py": "x = 2"}),
    Case("doctest", "def f():\n    '''\n    >>> f()\n    2\n    '''\n    return 1\n"
         "import doctest; print(doctest.testmod())"),
    Case("doctest_module", "def f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\n"
         "", ("-m", "doctest", "script.py")),
    Case("unittest", "import io, unittest\nclass T(unittest.TestCase):\n"
         "    def test_a(self): self.assertEqual(1, 2)\n"
         "    def test_b(self): print('b')\nout = io.StringIO()\n"
         "unittest.main(exit=False, testRunner=unittest.TextTestRunner(out))\n"
         "print(out.getvalue().splitlines()[:-4])"),
    Case("unittest_module", "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
         "    def test_b(self): pass\n", ("-m", "unittest", "-q", "script.T.nothing")),
    Case("zen", "", ("-m", "this")),
    Case("json_tool", "", ("-m", "json.tool"), stdin=b'{"a": [1, 2]}'),
    Case("calendar", "", ("-m", "calendar", "2024", "2")),
    Case("argparse", "import argparse\np = argparse.ArgumentParser()\np.add_argument('--log-level')\n"
         "p.add_argument('--require-trace', action='store_true')\nprint(p.parse_args())\n"
         "p.parse_args(['--nope'])",
         (SCRIPT, "--log-level", "foo", "--require-trace")),
    Case("argparse_of_a_module", "import argparse; argparse.ArgumentParser().parse_args()",
         ("-m", "script", "--nope")),
    Case("logging", "import logging\n"
         "logging.basicConfig(format='%(module)s %(lineno)d %(funcName)s %(message)s')\n"
         "def f(): logging.warning('w')\nf()\ntry: 1/0\nexcept ZeroDivisionError: logging.exception('x')"),
    Case("settrace", "import sys\nseen = []\ndef t(f, e, a):\n"
         "    seen.append((f.f_code.co_name, e, f.f_lineno)); return t\n"
         "def f():\n    x = 1\n    return x\nsys.settrace(t); f(); sys.settrace(None)\n"
         "print(seen, sys.gettrace())"),
    Case("setprofile", "import sys\nseen = []\n"
         "sys.setprofile(lambda f, e, a: seen.append((f.f_code.co_name, e)))\n"
         "len([])\nsys.setprofile(None)\nprint(seen)"),
    Case("frames", "import sys, inspect\n"
         "def f(): return sys._getframe(1).f_code.co_name, inspect.stack()[1].lineno\nprint(f())"),
    Case("tracebacks", "import traceback\ntry: 1/0\nexcept ZeroDivisionError as e:\n"
         "    traceback.print_exc()\n"
         "    print(len(traceback.extract_tb(e.__traceback__)))"),
    Case("inspect_source", "import inspect\ndef f():\n    return 1\n"
         "print(inspect.getsource(f), inspect.getfile(f) == __file__)\n"
         "print(inspect.getmodule(f).__name__)"),
    Case("stdin_lines", "import sys\nprint(input('? '))\nfor line in sys.stdin: print(repr(line))\n"
         "input()", stdin=b"a\nb\nc"),
    Case("stdin_behind_stdin", "", ("-",), stdin=b"import sys\nprint(repr(sys.stdin.read()))\n"),
    Case("stdout_closed", "import sys\nprint('x')\nprint(sys.stdout, file=sys.stderr)", closed=(1,)),
    Case("stdin_closed", "import sys\nprint(sys.stdin)\ninput()", closed=(0,)),
    Case("stderr_closed", "1/0", closed=(2,)),
    Case("stderr_closed_and_leaving", "raise SystemExit('x')", closed=(2,)),
    Case("failing_flush", "import sys, os\nprint('x')\n"
         "os.dup2(os.open('full', os.O_RDONLY | os.O_CREAT), 1)"),
    Case("failing_flush_after_failing", "import sys, os\nprint('x')\n"
         "os.dup2(os.open('full', os.O_RDONLY | os.O_CREAT), 1)\n1/0"),
    Case("stdout_closed_by_itself", "import sys\nprint('a')\nsys.stdout.close()"),
    Case("stdout_attribute", "import sys\nsys.stdout.foo = 1\n"
         "print(sys.stdout.foo, sys.stdout is sys.__stdout__)"),
    Case("bytes_as_they_are", "import sys\nsys.stdout.buffer.write(bytes(range(256)))\n"
         "print('\\r\\0\\x1b[1m')"),
    Case("repr_printing", "import sys\nclass A:\n    def __repr__(self):\n"
         "        print('in repr'); return 'A'\nprint([A()])\n"
         "import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('handler'))\n"
         "print('x', os.kill(os.getpid(), signal.SIGUSR1))"),
    Case("underscore_exit_unflushed", "import os, sys\nprint('lost')\nsys.stdout.flush()\n"
         "print('gone')\nos._exit(0)"),
    Case("modules", "import sys\n"
         "print('script' in sys.modules, [n for n in ('numpy', 'runpy', 'pdb') if n in sys.modules])"),
    Case("dataclasses_of_main", "from __future__ import annotations\nimport dataclasses, typing\n"
         "@dataclasses.dataclass\n"
         "class A:\n    x: int = 1\nprint(A(), typing.get_type_hints(A), __annotations__)"),
    Case("future_does_not_leak", "def f(x: undefined_name): pass"),
    Case("annotations_of_main", "x: int = 1\nprint(__annotations__)"),
    Case("linecache", "import linecache\nprint(repr(linecache.getline(__file__, 1)))"),
    Case("gc_order", "import gc\nclass N:\n    def __init__(self, n): self.n = n\n"
         "    def __del__(self): print('del', self.n)\n"
         "def f():\n    a = N(1); raise SystemExit(2)\nb = N(3)\nf()"),
    Case("gc_order_failing", "class N:\n    def __init__(self, n): self.n = n\n"
         "    def __del__(self): print('del', self.n)\n"
         "def f():\n    a = N(1); 1/0\nb = N(3)\nf()"),
    Case("main_is_imported", "import sys\nimport script\nprint(script is sys.modules['__main__'])"),
    Case("tempfile_and_finalize", "import weakref\nclass A: pass\n"
         "a = A(); weakref.finalize(a, print, 'finalized')"),
    Case("large_output", "print('x' * 1_300_000)\nimport sys; sys.stderr.write('y' * 200_000)"),
]
# fmt: on
