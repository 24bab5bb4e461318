"""The chain of trace filters, and what it decides of code and values."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

import devtrace.errors
from devtrace.recorder import filters
from devtrace.recorder.filters import Filters

META = '[meta]\nname = "{name}"\nversion = {version}\n'
KINDS = ("local", "global", "arg", "ret", "attr")
STDLIB = json.decoder.__file__
INSTALLED = pytest.__file__


class Project:
    """A folder with filters; `load` is what its script gets."""

    def __init__(self, root: Path):
        self.root = root
        self.environ: dict[str, str] = {}

    def write(self, name: str, text: str, *, version: int = 1) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(META.format(name=path.stem, version=version) + text)
        return str(path)

    def load(self, *texts: str, **more) -> Filters:
        specs = [self.write(f"filter{number}.toml", text) for number, text in enumerate(texts)]
        return filters.load(specs, environ=self.environ, folder=str(self.root), **more)

    def file(self, name: str) -> str:
        return f"{self.root}/{name}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / ".git").mkdir()
    return Project(tmp_path)


def rule(selector: str, *patterns: str, **said: str) -> str:
    """`rule("pkg:shop", "local:price drop", exec="skip")` as TOML."""
    lines = ["[[scope.rules]]", f"selector = '{selector}'"]
    lines += [f"{field} = '{value}'" for field, value in said.items()]
    for pattern in patterns:
        name, action = pattern.rsplit(" ", 1)
        lines += ["[[scope.rules.value_patterns]]", f"selector = '{name}'", f"action = '{action}'"]
    return "\n".join(lines) + "\n"


def records(chain: Filters, path: str, module: str = "shop.cart", qualname: str = "total") -> bool:
    return chain.verdict(path, module, qualname).records


def action(chain: Filters, kind: str, name: str, path: str = "/home/ana/shop/cart.py") -> str:
    return chain.verdict(path, "shop.cart", "total").action(kind, name)


# What is recorded without any filter.


def test_the_users_code_is_recorded_and_nothing_else(project: Project) -> None:
    chain = project.load()

    assert records(chain, project.file("cart.py"))
    for path in (STDLIB, INSTALLED, devtrace.errors.__file__, project.file(".venv/lib/site-packages/a.py")):
        verdict = chain.verdict(path, "a", "f")
        assert (verdict.records, verdict.reason) == (False, "filter_scope_skip"), path


@pytest.mark.parametrize(
    ("path", "module", "reason"),
    [
        ("<string>", "__main__", ""),
        ("<stdin>", "__main__", ""),
        ("<string>", "shop.cart", "synthetic_filename"),
        ("<frozen os>", "os", "synthetic_filename"),
        ("<template>", "__main__", "synthetic_filename"),
        ("", "shop.cart", "filename_lookup_failed"),
        (None, "shop.cart", "filename_lookup_failed"),
        (7, None, "filename_lookup_failed"),
    ],
)
def test_code_without_a_file_has_a_reason_of_its_own(project: Project, path, module, reason: str) -> None:
    verdict = project.load().verdict(path, module, "f")

    assert (verdict.records, verdict.reason) == (not reason, reason)


def test_what_cannot_be_judged_is_not_recorded_and_does_not_fail(project: Project) -> None:
    chain = project.load(rule("obj:shop.*", exec="trace"), only=["shop:f"])

    verdict = chain.verdict(project.file("cart.py"), "shop", None)  # type: ignore[arg-type]

    assert (verdict.records, verdict.reason) == (False, "filter_resolution_error")
    assert verdict.action("local", "password") == "redact"


def test_a_module_that_gives_itself_an_odd_name_is_judged_by_its_file(project: Project) -> None:
    chain = project.load(rule("pkg:cart", exec="skip"))

    assert not records(chain, project.file("cart.py"), 5)  # type: ignore[arg-type]


def test_a_file_is_known_by_any_spelling(project: Project) -> None:
    chain = project.load(rule("file:src/cart.py", exec="skip"))

    for path in ("src/cart.py", project.file("tests/../src/cart.py"), project.file("src/./cart.py")):
        assert not records(chain, path), path
    assert records(chain, "src/other.py")


# What is hidden without any filter.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["password", "api_key", "apiToken", "AUTH_TOKEN", "pan"])
def test_secrets_are_redacted_by_their_names(project: Project, kind: str, name: str) -> None:
    assert action(project.load(), kind, name) == "redact"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["author", "company", "span", "total", "price"])
def test_names_that_only_look_a_little_like_it_are_not(project: Project, kind: str, name: str) -> None:
    assert action(project.load(), kind, name) == "allow"


def test_what_a_function_returns_is_judged_by_its_own_name(project: Project) -> None:
    chain = project.load()

    assert action(chain, "ret", "Vault.get_password") == "redact"
    assert action(chain, "ret", "PasswordForm.render") == "allow"


# Rules.


@pytest.mark.parametrize(
    "selector", ["pkg:shop.*", "pkg:regex:^shop", "obj:shop.cart.total", "file:src/*.py"]
)
def test_every_kind_of_selector_decides(project: Project, selector: str) -> None:
    chain = project.load(rule(selector, exec="skip", reason="It is dull."))

    verdict = chain.verdict(project.file("src/cart.py"), "shop.cart", "total")
    assert (verdict.records, verdict.reason, verdict.because) == (False, "filter_scope_skip", "It is dull.")
    assert records(chain, project.file("lib/a.py"), "a", "f")


def test_the_last_rule_that_fits_wins(project: Project) -> None:
    skip, trace = rule("pkg:shop.*", exec="skip"), rule("pkg:*.cart", exec="trace")

    assert records(project.load(skip + trace), project.file("cart.py"))
    assert not records(project.load(trace + skip), project.file("cart.py"))
    assert not records(project.load(trace, skip), project.file("cart.py"))


def test_a_rule_that_inherits_leaves_it_to_the_rules_before(project: Project) -> None:
    chain = project.load(rule("pkg:shop.*", exec="skip") + rule("pkg:shop.cart", exec="inherit"))

    assert not records(chain, project.file("cart.py"))


def test_the_last_default_exec_is_for_what_no_rule_names(project: Project) -> None:
    skip = '[scope]\ndefault_exec = "skip"\n'
    chain = project.load(skip + rule("pkg:shop.*", exec="trace"))

    assert records(chain, project.file("cart.py"))
    assert not records(chain, project.file("other.py"), "other")
    assert not records(project.load(skip, '[scope]\ndefault_exec = "inherit"\n'), project.file("a.py"))
    assert records(project.load(skip, '[scope]\ndefault_exec = "trace"\n'), project.file("a.py"))


def test_a_default_of_trace_does_not_switch_the_standard_library_on(project: Project) -> None:
    assert not records(project.load('[scope]\ndefault_exec = "trace"\n'), STDLIB, "json.decoder")


def test_the_first_pattern_of_a_rule_wins(project: Project) -> None:
    chain = project.load(rule("pkg:*", "local:price redact", "local:p* drop", "local:* allow"))

    assert [action(chain, "local", name) for name in ("price", "pence", "total")] == [
        "redact",
        "drop",
        "allow",
    ]
    assert action(chain, "global", "price") == "allow"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_value_has_its_patterns(project: Project, kind: str) -> None:
    chain = project.load(rule("pkg:*", f"{kind}:price drop"))

    assert {one: action(chain, one, "price") for one in KINDS} == dict.fromkeys(KINDS, "allow") | {
        kind: "drop"
    }


@pytest.mark.parametrize(
    "pattern", ["ret:literal:shop.cart.total", "ret:total", "ret:Cart.total", "ret:regex:cart.*total$"]
)
def test_a_return_is_named_with_its_module_or_without(project: Project, pattern: str) -> None:
    chain = project.load(rule("pkg:*", f"{pattern} drop"))

    assert action(chain, "ret", "Cart.total" if "Cart" in pattern else "total") == "drop"
    assert action(chain, "ret", "Cart.other") == "allow"


def test_a_return_is_known_by_the_bare_name_of_its_function_too(project: Project) -> None:
    chain = project.load(rule("pkg:*", "ret:literal:shop.cart.Cart.total drop"))

    assert chain.verdict("/a.py", "shop.cart", "Cart.total").action("ret", "total") == "drop"
    assert chain.verdict("/a.py", "shop.cart", "Order.total").action("ret", "total") == "allow"


def test_a_program_in_a_folder_that_is_gone_has_its_filters(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "gone").mkdir()
    monkeypatch.chdir(project.root / "gone")
    (project.root / "gone").rmdir()

    assert records(filters.load(environ={}), project.file("cart.py"))


def test_the_defaults_for_values_go_from_the_chain_to_the_rule(project: Project) -> None:
    base = '[scope]\ndefault_value_action = "redact"\n'

    assert action(project.load(base), "local", "price") == "redact"
    assert (
        action(project.load(base, '[scope]\ndefault_value_action = "inherit"\n'), "local", "price")
        == "redact"
    )
    assert (
        action(project.load(base, '[scope]\ndefault_value_action = "allow"\n'), "local", "price") == "allow"
    )
    assert action(project.load(base + rule("pkg:shop.*", value_default="allow")), "local", "price") == "allow"
    assert action(project.load(base + rule("pkg:other", value_default="allow")), "local", "price") == "redact"
    assert action(project.load(base + rule("pkg:shop.*", "local:price allow")), "local", "price") == "allow"


def test_patterns_of_later_filters_are_asked_first_and_the_others_after_them(project: Project) -> None:
    chain = project.load(
        rule("pkg:*", "local:price drop", "local:cents drop"), rule("pkg:shop.*", "local:price allow")
    )

    assert [action(chain, "local", name) for name in ("price", "cents")] == ["allow", "drop"]


def test_what_a_filter_drops_does_not_come_back_as_redacted(project: Project) -> None:
    patterns = rule("pkg:*", "local:price redact", "local:total allow")
    chain = project.load(patterns, '[scope]\ndefault_value_action = "drop"\n')

    assert {action(chain, "local", name) for name in ("price", "total", "password")} == {"drop"}
    own = project.load('[scope]\ndefault_value_action = "drop"\n' + patterns)
    assert [action(own, "local", name) for name in ("price", "total")] == ["redact", "allow"]


def test_it_is_told_which_pattern_hid_a_value(project: Project) -> None:
    chain = project.load(rule("pkg:*", "local:price drop"))
    verdict = chain.verdict(project.file("cart.py"), "shop.cart", "total")

    assert verdict.rule("local", "price") == "local:price"
    assert verdict.rule("arg", "password") == "builtin-default"


def test_more_names_than_are_remembered_are_still_judged(project: Project) -> None:
    verdict = project.load(rule("pkg:*", "attr:a?9* drop")).verdict("/a.py", "a", "f")

    answers = [verdict.action("attr", f"a_{number}") for number in range(10_000)]

    assert answers == ["drop" if str(number)[0] == "9" else "allow" for number in range(10_000)]


# The defects that were measured elsewhere.


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_for_everything_takes_no_redaction_away(project: Project, kind: str) -> None:
    for said in ({}, {"exec": "trace"}, {"value_default": "allow"}):
        assert action(project.load(rule("pkg:glob:*", **said)), kind, "password") == "redact"


def test_a_rule_for_everything_does_not_switch_the_standard_library_on(project: Project) -> None:
    chain = project.load(rule("pkg:glob:*", "local:price drop", value_default="allow"))

    assert not records(chain, STDLIB, "json.decoder")
    assert not records(chain, INSTALLED, "pytest")


def test_a_rule_that_says_trace_means_all_that_it_names(project: Project) -> None:
    everything = project.load(rule("pkg:glob:*", exec="trace"))

    assert records(everything, STDLIB, "json.decoder")
    assert records(everything, INSTALLED, "pytest")
    assert records(everything, "<string>", "shop.cart")
    assert not records(everything, devtrace.errors.__file__, "devtrace.errors")
    assert not records(everything, "<frozen os>", "os")
    one = project.load(rule("pkg:json.*", exec="trace"))
    assert records(one, STDLIB, "json.decoder")
    assert not records(one, os.__file__, "os")


@pytest.mark.parametrize(
    "pattern", ["local:*", "local:regex:.", "local:user_*", "local:regex:^(user|masked)_"]
)
def test_an_allow_for_many_names_lifts_no_secret_among_them(project: Project, pattern: str) -> None:
    chain = project.load(rule("pkg:*", f"{pattern} allow"))

    assert action(chain, "local", "user_password") == "redact"
    assert action(chain, "local", "user_name") == "allow"


@pytest.mark.parametrize(
    "pattern",
    [
        "local:user_token",
        "local:literal:user_token",
        "local:*token*",
        "local:regex:_token$",
        "local:user_token?",
    ],
)
def test_an_allow_that_names_a_secret_lifts_it(project: Project, pattern: str) -> None:
    chain = project.load(rule("pkg:*", f"{pattern} allow"))

    assert action(chain, "local", "user_tokens" if pattern.endswith("?") else "user_token") == "allow"
    assert action(chain, "arg", "user_token") == "redact"
    assert action(chain, "local", "password") == "redact"


def test_an_allow_that_lifts_no_secret_leaves_it_to_the_patterns_behind_it(project: Project) -> None:
    chain = project.load(rule("pkg:*", "local:* allow", "local:pass* drop"))

    assert action(chain, "local", "password") == "drop"


def test_keys_of_keyword_arguments_are_fields(project: Project) -> None:
    assert action(project.load(), "attr", "password") == "redact"


# Only this.


def test_only_leaves_what_it_names(project: Project) -> None:
    chain = project.load(only=["shop.cart:total", "prices.py"])

    assert records(chain, project.file("cart.py"))
    assert records(chain, project.file("prices.py"), "shop.prices", "any")
    verdict = chain.verdict(project.file("cart.py"), "shop.cart", "other")
    assert (verdict.records, verdict.reason, verdict.because) == (False, "filter_scope_skip", "not in --only")


def test_only_may_be_one_text(project: Project) -> None:
    chain = project.load(only="shop.cart")

    assert records(chain, project.file("cart.py"))
    assert not records(chain, project.file("cart.py"), "shop.prices")


def test_only_reaches_into_the_standard_library_where_it_is_spelled(project: Project) -> None:
    assert records(project.load(only=["json.decoder"]), STDLIB, "json.decoder", "JSONDecoder.decode")
    assert not records(project.load(only=["*"]), STDLIB, "json.decoder", "JSONDecoder.decode")
    assert not records(project.load(only=["devtrace"]), devtrace.errors.__file__, "devtrace.errors")


def test_only_does_not_show_what_a_rule_skips(project: Project) -> None:
    skipped = project.load(rule("obj:shop.cart.total", exec="skip"), only=["shop.cart"])
    unnamed = project.load('[scope]\ndefault_exec = "skip"\n', only=["shop.cart"])

    assert not records(skipped, project.file("cart.py"))
    assert records(unnamed, project.file("cart.py"))


def test_only_and_rules_know_the_main_program_by_its_file(project: Project) -> None:
    script = project.file("tools/report.py")

    for only in ("report", "tools.report", "tools/report.py", "__main__", "report:main"):
        assert records(project.load(only=[only]), script, "__main__", "main"), only
    assert not records(project.load(rule("pkg:tools.*", exec="skip")), script, "__main__", "main")


# The chain.


def test_the_chain_goes_from_the_default_by_project_and_environment_to_what_is_asked_for(
    project: Project,
) -> None:
    project.write(".codetracer/trace-filter.toml", "", version=2)
    project.environ["CODETRACER_TRACE_FILTER"] = "env.toml::more.toml"
    project.write("env.toml", "")
    project.write("more.toml", "")

    chain = project.load("", "")

    named = [one["name"] for one in chain.metadata()["filters"]]
    assert named == ["builtin-default", "trace-filter", "env", "more", "filter0", "filter1"]


def test_the_project_filter_is_the_one_above_the_script(project: Project) -> None:
    project.write("shop/.devtrace/trace-filter.toml", rule("file:src/*", exec="skip"))
    (project.root / "shop" / "src").mkdir()

    chain = filters.load(None, "shop/src/cart.py", environ={}, folder=str(project.root))
    elsewhere = filters.load(None, None, environ={}, folder=str(project.root))

    assert not records(chain, project.file("shop/src/cart.py"))
    assert [one["name"] for one in elsewhere.metadata()["filters"]] == ["builtin-default"]


def test_files_are_named_from_the_filters_folder_and_from_the_projects(project: Project) -> None:
    project.write(
        "filters/support.toml", rule("file:src/*.py", exec="skip") + rule("file:a/*.py", exec="skip")
    )
    chain = filters.load("filters/support.toml", environ={}, folder=str(project.root))

    assert not records(chain, project.file("src/cart.py"))
    assert not records(chain, project.file("filters/a/cart.py"))
    assert records(chain, project.file("other/src/cart.py"))


def test_an_absolute_selector_is_held_against_the_whole_path(project: Project) -> None:
    chain = project.load(rule("file:/opt/**", exec="skip") + rule("file:regex:^/srv/", exec="skip"))

    assert not records(chain, "/opt/shop/cart.py")
    assert not records(chain, "/srv/shop/cart.py")
    assert records(chain, project.file("opt/cart.py"))


def test_a_folder_above_the_project_does_not_fit_its_selectors(project: Project) -> None:
    chain = project.load(rule(f"file:regex:{project.root.name}", exec="skip"))

    assert records(chain, project.file("cart.py"))


def test_errors_of_a_filter_reach_whoever_asked_for_it(project: Project) -> None:
    with pytest.raises(FileNotFoundError):
        filters.load("missing.toml", environ={}, folder=str(project.root))
    with pytest.raises(FileNotFoundError):
        filters.load(None, environ={"DEVTRACE_TRACE_FILTER": "missing.toml"}, folder=str(project.root))
    with pytest.raises(ValueError, match="this is a directory"):
        filters.load(str(project.root), environ={}, folder=str(project.root))
    with pytest.raises(TypeError):
        filters.load([1], environ={}, folder=str(project.root))
    project.write(".devtrace/trace-filter.toml", "colour = 1\n")
    with pytest.raises(ValueError, match=r"trace-filter\.toml: meta\.colour: there is no such field"):
        filters.load(None, environ={}, folder=str(project.root))


def test_what_filters_say_of_output_is_put_together(project: Project) -> None:
    chain = project.load(
        '[io]\ncapture = true\nstreams = ["stdout", "stderr"]\n', '[io]\nstreams = ["stdout"]\n'
    )

    assert chain.io == {"capture": True, "streams": ["stdout"]}


# What a trace says of its filters.


def test_the_metadata_names_each_filter_with_its_hash(project: Project) -> None:
    path = project.write("support.toml", "", version=4)
    (own, support) = (
        project.load().metadata()["filters"]
        + filters.load(path, environ={}, folder=str(project.root)).metadata()["filters"][1:]
    )

    assert support == {
        "path": path,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "name": "support",
        "version": 4,
    }
    assert (own["path"], own["name"], own["version"]) == ("<inline:builtin-default>", "builtin-default", 1)
    assert len(own["sha256"]) == 64


def test_the_metadata_counts_what_was_left_out(project: Project) -> None:
    chain = project.load()
    nothing = dict.fromkeys(("argument", "local", "global", "return", "attribute"), 0)
    assert chain.metadata()["stats"] == {
        "scopes_skipped": 0,
        "value_redactions": nothing,
        "value_drops": nothing,
    }

    chain.stats.skipped()
    for kind in KINDS:
        chain.stats.redacted(kind)
    chain.stats.redacted("ret")
    chain.stats.dropped("arg")

    stats = chain.metadata()["stats"]
    assert stats["scopes_skipped"] == 1
    assert stats["value_redactions"] == {**dict.fromkeys(nothing, 1), "return": 2}
    assert stats["value_drops"] == {**nothing, "argument": 1}
    json.dumps(chain.metadata())


def test_threads_lose_no_counts(project: Project) -> None:
    stats = project.load().stats

    def count() -> None:
        for _ in range(5000):
            stats.redacted("local")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert stats.as_dict()["value_redactions"]["local"] == 40_000
