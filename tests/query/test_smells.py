"""Words by which a diff or a command is worth a second look."""

from __future__ import annotations

import pytest

from devtrace.query.smells import (
    OFF,
    PAST,
    asks,
    begun_tests,
    brief,
    failure,
    hooks_left_out,
    is_assertion,
    is_test,
    n_assertions,
    n_skips,
)


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py", "test/x/y.c", "pkg/__tests__/a.js", "test_a.py", "in/test_a.py", "a_test.go",
        "a.spec.ts", "a.test.tsx", "CartTest.java", "in/CartTests.cs", "spec/a.rb",
        "tests.py", "app/tests.py", "src/tests.rs", "login.cy.ts", "e2e/login.ts",
    ],
)  # fmt: skip
def test_a_test_is_known_by_its_name(path):
    assert is_test(path)


@pytest.mark.parametrize(
    "path", ["a.py", "latest.py", "contest/a.py", "testing.md", "attest.go", "greatest/x"]
)
def test_what_only_sounds_like_a_test_is_none(path):
    assert not is_test(path)


def test_assertions_and_skips_are_counted_by_line():
    lines = [
        b"    assert x == 1\n", b"    self.assertEqual(1, 2)\n", b"  expect(x).toBe(1)\n", b"t.Errorf(1)\n",
        b"with pytest.raises(KeyError):\n", b"    x = 1\n", b"  require.Equal(t, 1, 2)\n",
    ]  # fmt: skip
    skips = [
        b"@pytest.mark.skip(reason='x')\n", b"it.only('x')\n", b"xit('x')\n", b"t.Skip()\n", b"#[ignore]\n",
        b"skipping = 1\n", b"exit(1)\n", b"@Disabled\n",
    ]  # fmt: skip

    assert n_assertions(lines) == 6
    assert n_skips(skips) == 6


@pytest.mark.parametrize(
    "line",
    [
        b"    # assert f(1) == 1\n", b"// expect(f(1)).toBe(1)\n", b" * assertEquals(1, x)\n",
        b"f(1)  # assert f(1) == 1\n", b"assert True\n", b"assert True, 'why'\n", b"self.assertTrue(True)\n",
        b"assert!(true);\n", b"assert 1 == 1\n", b"self.assertEqual(x, x)\n", b"expect(true).toBe(true);\n",
        b"assert.ok(true);\n", b"expect(1).toBeTruthy()\n",
    ],
)  # fmt: skip
def test_what_cannot_fail_asserts_nothing(line):
    assert not is_assertion(line)


@pytest.mark.parametrize(
    "line",
    [
        b"assert True == f()\n", b"assert 1 == f(1)\n", b"self.assertEqual(1, f())\n", b"assert x == x2\n",
        b"assert f(1) == 1  # true\n", b"expect(f(true)).toBe(true)\n", b"assert 'a' in x\n",
        b"#[test] fn a() { assert!(f()) }\n", b"get('http://x'); assert(f())\n",
    ],
)  # fmt: skip
def test_what_can_fail_asserts_something(line):
    assert is_assertion(line)


@pytest.mark.parametrize(
    "line",
    [
        b"@unittest.expectedFailure\n", b"raise SkipTest('x')\n", b"    raise unittest.SkipTest\n",
        b"fit('x', f)\n", b"fdescribe('x', f)\n", b"  skip('later')\n", b"@tag :skip\n",
        b"$this->markTestSkipped();\n",
    ],
)  # fmt: skip
def test_there_are_many_ways_to_skip(line):
    assert n_skips([line]) == 1


@pytest.mark.parametrize(
    "line", [b"model.fit(x)\n", b"# pytest.skip('x')\n", b"outfit('x')\n", b"skipped = 1\n"]
)
def test_what_only_sounds_like_skipping_is_not(line):
    assert n_skips([line]) == 0


def test_a_test_is_known_by_how_it_begins():
    lines = [
        b"def test_a():\n", b"    async def test_b(self):\n", b"it('does x', () => {\n",
        b"func TestX(t *testing.T) {\n",
        b"#[test]\n", b"    @Test\n", b"test_x = 3\n", b"# def test_c():\n",
    ]  # fmt: skip

    assert begun_tests(lines) == ["test_a", "test_b", "'does x'", "TestX", "#[test", "@Test"]


@pytest.mark.parametrize(
    "command",
    [
        "git commit --no-verify -m x",
        "git commit -nm 'x'",
        "git commit -an -m x",
        "cd x && git -C . commit -n -m x",
        "git push --no-verify",
        "HUSKY=0 git commit -m x",
        "git -c core.hooksPath=/dev/null commit -m x",
        "bash -c 'git add . && git commit --no-verify -m x'",
        "/usr/bin/git commit -m x --no-verify; ls",
        "(git commit -n)",
        "git commit --no-veri -m x",
        "git -ccore.hooksPath=/dev/null commit -m x",
        "export HUSKY=0; git commit -m x",
        "timeout 60 git commit -n -m x",
        "sudo -u ana env A=1 git commit -n",
        "ls | xargs git commit -n",
        "LEFTHOOK=0 git commit -m x",
        "SKIP=flake8,mypy git commit -m x",
        "if true; then git commit -n; fi",
        "git commit -m \"$(cat <<'END'\nit's (done\nEND\n)\" --no-verify",
        "bash <<'END'\ngit commit -n\nEND",
        "git am -n x.patch",
    ],
)
def test_a_commit_past_the_hooks_is_seen(command):
    assert hooks_left_out(command) == PAST


@pytest.mark.parametrize(
    "command",
    [
        "git config core.hooksPath /dev/null",
        "git config --global core.hookspath x && git commit -m x",
        "git config set core.hooksPath x",
        "git config --unset core.hooksPath",
        "export HUSKY=0",
    ],
)
def test_hooks_that_are_turned_off_are_seen(command):
    assert hooks_left_out(command) == OFF


@pytest.mark.parametrize(
    "command",
    [
        "git commit -m '--no-verify is bad'",
        "git commit -mn",
        "git commit -m x -- -n",
        "git log -n 3",
        "git push -n",
        "echo git commit --no-verify > x",
        "grep -- --no-verify x",
        "git commit -C HEAD",
        "git -c user.name=n commit -m x",
        "git commit -m 'unfinished",
        "grep -rn 'git commit --no-verify' .",
        'echo "never git commit --no-verify"',
        "cat > CONTRIBUTING.md <<'END'\nNever:\ngit commit --no-verify\nEND\ngit add .",
        "git commit -m x # it is no --no-verify",
        "git commit -m --no-verify",
        "git commit --message --no-verify",
        "git commit -m \"$(cat <<'END'\nsay --no-verify\ngit commit -n\nEND\n)\"",
        "git config core.hooksPath",
        "git config --get core.hooksPath",
        "git commit-tree -n x",
        "HUSKY=0 npm install && git add .",
        "git cherry-pick -n x",
        "",
    ],
)
def test_what_only_looks_like_one_is_not(command):
    assert not hooks_left_out(command)


def test_a_no_is_an_answer_and_no_failure():
    for question in ("grep x y", "/usr/bin/test -f x", "! grep x y", "[[ -f a && -f b ]]", "command -v x"):
        assert asks(question, 1)
    for command in (
        "ls . && sh -c 'exit 1'",
        "grep x f; npm test",
        "command npm test",
        "(grep x y)",
        "pytest",
        "",
    ):
        assert not asks(command, 1)
    assert not asks("grep x y", 2)


@pytest.mark.parametrize(
    ("command", "pipestatus", "expected"),
    [
        ("sh -c 'exit 4' | tail -1", [4, 0], 4),
        ("cd x && make | tee log", [2, 0], 2),
        ("false | cat", [1, 0], 1),
        ("yes | head -1", [141, 0], None),
        ("grep x y | wc -l", [1, 0], None),
        ("cat y | grep x", [0, 1], None),
        ("(make; true) | cat", [1, 0], 1),
        ("true | cat", [0, 0], None),
    ],
)
def test_a_pipeline_fails_where_a_part_of_it_does(command, pipestatus, expected):
    assert failure(command, pipestatus[-1], pipestatus) == expected


def test_a_command_is_quoted_by_its_first_line_and_not_for_long():
    assert brief("cat > x <<END\n1\n2\nEND\n") == "cat > x <<END (+3 lines)"
    assert len(brief("x" * 1000)) == 100
    assert brief("") == ""
