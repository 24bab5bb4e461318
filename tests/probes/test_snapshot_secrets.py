"""What leaves of secrets in a snapshot, of the user's callbacks, and of a hit as a whole."""

from __future__ import annotations

import collections
import datetime
import json
import pathlib
import re
import sys

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.known import Known
from devtrace.policy.secrets import RULES, TEACHERS
from devtrace.probes.snapshot import NOTHING, REDACTED, hides_name
from tests.probes.snapshots import (
    CUT,
    HERE,
    LEFT,
    TOKEN,
    Colour,
    Names,
    Own,
    Text,
    User,
    encoder,
    form,
    typed,
)

# --- secrets ---


SECRETS = """
password db_password dbPassword API_KEY apiKey api-key x-api-key token access_token accessToken secret
client_secret passwd pwd authorization Authorization cookie Set-Cookie csrf jwt pin ssn cvv credit_card
creditCard private_key sshKey session_id sessionid PHPSESSID connection_string databaseUrl dsn salt otp
password_hash passwordHash _password __token passwords pgp_key aws_secret_access_key
"""
OTHERS = """
user name id key keys tokenizer token_count max_tokens tokens author authors pinned spin cookie_name env
session secretary compass passed public_key token_type path url bypass keyboard nonce
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_a_secrets_name_hides(name):
    assert hides_name(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_another_name_hides_nothing(name):
    assert not hides_name(name)


def test_what_stands_under_a_hidden_name_is_not_told():
    user = User(password="s3cretpassword", name="ana")
    scope = {
        "token": "s3crettoken",
        "user": user,
        "config": {"apiKey": "s3cretkey", b"secret": "s3cretbytes", Text("pwd"): "s3cretsub"},
        "pair": collections.namedtuple("Login", "user passwd")("ana", "s3cretpair"),
        "credentials": {"inner": ["s3cretinner"]},
        "password": 12345678,
    }

    told = encoder().encode_names(scope)

    assert "s3cret" not in json.dumps(told)
    assert "12345678" not in json.dumps(told)
    assert told["user"] == typed(f"{HERE}.User", password=REDACTED, name="ana")
    assert (told["token"], told["credentials"], told["password"]) == (REDACTED, REDACTED, REDACTED)


def test_nothing_under_a_hidden_name_stays_nothing():
    assert encoder().encode_names({"password": None, "token": ""}) == {"password": None, "token": ""}
    assert form({"secret": None}) == {"secret": None}


@pytest.mark.parametrize(
    "hidden", ["hunter2hunter2", b"hunter2hunter2", ["x", "hunter2hunter2"], User(a="hunter2hunter2")]
)
def test_a_hidden_value_is_hidden_wherever_else_it_stands(hidden):
    scope = {
        "before": "is hunter2hunter2.",
        "password": hidden,
        "after": [b"hunter2hunter2", {"hunter2hunter2": 1}, Text("hunter2hunter2")],
    }

    told = encoder().capture(scope, {}, returned="hunter2hunter2", raised=ValueError("hunter2hunter2"))

    assert "hunter2" not in json.dumps(told)
    assert told["locals"]["before"] == f"is {REDACTED}."
    assert told["returnValue"] == told["exception"]["message"] == REDACTED


def test_a_value_that_is_hidden_deep_inside_is_hidden_in_what_was_told_before_it():
    scope = {"before": "hunter2hunter2", "user": User(name="ana", token="hunter2hunter2")}

    told = encoder().encode_names(scope)

    assert told == {"before": REDACTED, "user": typed(f"{HERE}.User", name="ana", token=REDACTED)}


def test_a_hidden_number_is_hidden_where_it_is_returned():
    assert encoder().capture({}, {"pin": 4711}, returned=4711)["returnValue"] == REDACTED


def test_a_hidden_plain_word_masks_no_other_word():
    told = encoder().encode_names(
        {"password": "admin", "group": "administrators", "user": "admin", "is": "true"}
    )

    assert (told["group"], told["user"], told["is"]) == ("administrators", REDACTED, "true")


def test_what_can_be_nothing_but_a_secret_is_learned():
    learned = []

    encoder(learn=learned.extend).encode_names(
        {"token": "aB3dE6gH9jK2", "user": User(password="admin", pin=1234)}
    )

    assert learned == [b"aB3dE6gH9jK2"]


def policy():
    known = Known()
    return Policy((*RULES, known), None, known, None, TEACHERS)


def test_every_text_passes_the_policy_keys_too():
    user = User(**{TOKEN: 1})
    scope = {
        "a": TOKEN,
        "b": {TOKEN: 1},
        "c": TOKEN.encode(),
        "d": user,
        "e": [ValueError(TOKEN)],
        "f": Text(TOKEN),
    }
    scope |= {"g": pathlib.PurePosixPath(TOKEN), "h": {(TOKEN,): 1}}

    told = encoder(redact=policy().redact_text).capture(scope, {}, raised=OSError(1, TOKEN, TOKEN))

    assert TOKEN not in json.dumps(told)
    assert json.dumps(told).count("[redacted:") == 10


@pytest.mark.parametrize("before", range(1000 - 36, 1030, 6))
def test_no_half_of_a_secret_stays_where_a_text_is_cut(before):
    made = encoder(redact=policy().redact_text)
    text = "x " * (before // 2) + TOKEN + " y" * 5000

    for value in (text, text.encode(), Text(text)):
        assert TOKEN[:8] not in json.dumps(made.encode(value))


def test_no_half_of_a_secret_comes_near_when_others_become_short():
    long = "A" * 4000
    text = f"{long} {'B' * 1200}"

    told = form(text, redact=lambda text: text.replace(long, "*").replace("B" * 1200, "*"))

    assert "B" not in told["__repr__"]


def test_a_type_can_be_hidden():
    scope = {"user": User(code="s3cretcode"), "code": "s3cretcode"}

    told = encoder(hides_type=lambda name: name.endswith(".User")).encode_names(scope)

    assert told == {"user": REDACTED, "code": REDACTED}


# --- the user's callbacks ---


def test_the_callback_says_what_leaves_of_each_plain_value():
    seen = []

    def callback(value):
        seen.append(value)
        return "*" if value == "ana" else value

    told = form({"a": "ana", "b": [1, None, b"c"], "d": User(e=Text("ana"))}, callback=callback)

    assert told["a"] == "*"
    assert told["b"] == [1, None, typed("bytes", __repr__="b'c'")]
    assert told["d"]["e"]["__tpd_value__"] == "*"
    assert "ana" in seen


@pytest.mark.parametrize("given", [ValueError, object, list])
def test_a_callback_that_fails_or_gives_what_is_not_plain_lets_nothing_leave(given):
    def callback(value):
        if given is ValueError:
            raise ValueError(value)
        return given()

    made = encoder(callback=callback)

    assert made.encode(["raw", 5, b"raw"]) == [REDACTED] * 3
    assert made.show("raw") == REDACTED


def test_what_the_callback_gives_is_redacted_and_cut_too():
    assert form("a", callback=lambda _: "x" * 5000)[LEFT] == 3976
    assert form("a", callback=lambda _: "b", redact=str.upper) == "B"


def test_the_callback_of_a_huge_text_sees_its_beginning():
    seen = []

    told = form("x" * 1_000_000, callback=lambda value: seen.append(len(value)) or value)

    assert (seen, told[LEFT]) == ([1024 + 4096], 1_000_000 - 1024)


def test_an_interrupt_in_the_callback_reaches_the_program():
    def callback(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder(callback=callback).encode("a")


# --- whole snapshots, lines of a log, stacks ---


def test_a_snapshot_has_the_documented_parts():
    assert encoder().capture({"a": 1, "b": 2}, {"a": 1}) == {
        "locals": {"a": 1, "b": 2},
        "arguments": {"a": 1},
        "returnValue": None,
        "exception": None,
    }
    told = encoder().capture({}, {}, returned=5, watch={"a.b": [1]})
    assert (told["returnValue"], told["watch"]) == (5, {"a.b": [1]})
    assert encoder().capture({}, {}, returned=NOTHING)["returnValue"] is None


def test_the_parts_share_one_budget_and_what_was_asked_for_comes_first():
    told = encoder(max_nodes=10).capture({"a": [0] * 50}, {}, watch={"w": [0] * 5})

    assert told["watch"] == {"w": [0] * 5}
    assert told["locals"]["a"][-1] == {CUT: True, LEFT: 47}


def test_the_variables_of_a_real_frame_are_told():
    def inner(a, *args, key="k", **kwargs):
        b = a + 1  # noqa: F841
        return encoder().encode_names(sys._getframe().f_locals)

    told = inner(1, 2, more=3)

    assert told == {
        "a": 1,
        "args": typed("tuple", __tpd_items__=[2]),
        "key": "k",
        "kwargs": {"more": 3},
        "b": 2,
    }


def test_an_exception_is_told_with_its_last_levels():
    def fails(left):
        if left:
            fails(left - 1)
        raise Own("no")

    with pytest.raises(Own) as caught:
        fails(50)

    told = encoder(max_frames=2).exception(caught.value)
    assert (told["type"], told["message"]) == (f"{HERE}.Own", "no")
    assert re.fullmatch(r'(File ".*test_snapshot_secrets\.py", line \d+, in fails\n?){2}', told["stack"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb", "a\nb"),
        (5, "5"),
        (True, "True"),
        (None, "None"),
        (1.5, "1.5"),
        (b"a", "b'a'"),
        ([1, "a", None], "[1, 'a', None]"),
        ((1,), "(1,)"),
        ((), "()"),
        ({1}, "{1}"),
        (frozenset({1}), "frozenset({1})"),
        (collections.deque([1]), "deque([1])"),
        ({"a": [1]}, "{'a': [1]}"),
        ({1: ("b",)}, "{1: ('b',)}"),
        (User(a=1), f"<{HERE}.User>"),
        ([User(a=1)], f"[<{HERE}.User>]"),
        (Text("a"), "a"),
        (Names([1]), "[1]"),
        (Colour.RED, "Colour.RED"),
        (ValueError("no"), "no"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ("x" * 2000, "x" * 1024 + "..."),
        (list(range(30)), f"[{', '.join(map(str, range(20)))}, ...]"),
        (dict.fromkeys(range(30), 0), f"{{{', '.join(f'{n}: 0' for n in range(20))}, ...}}"),
        ([[[[1]]]], "[[[...]]]"),
        (
            {"password": "hunter2hunter2", "a": "hunter2hunter2"},
            f"{{'password': '{REDACTED}', 'a': '{REDACTED}'}}",
        ),
    ],
    ids=lambda told: type(told).__name__,
)
def test_a_value_in_a_log_message_is_one_line(value, expected):
    assert encoder().show(value) == expected


def test_a_text_in_a_log_message_is_redacted():
    made = encoder(redact=str.upper)

    assert (made.show("a"), made.show(["a"])) == ("A", "['A']")


class Outer:
    class Inner:
        def method(self, made):
            def local():
                return made.stack(sys._getframe())

            return local()


def test_a_stack_tells_where_and_in_which_class_but_no_variables():
    told = Outer.Inner().method(encoder())

    assert len(told) == 20
    assert told[0] == {"file": __file__, "line": told[0]["line"], "method": "local"}
    assert told[1] == {
        "file": __file__,
        "line": told[1]["line"],
        "method": "method",
        "className": "Outer.Inner",
    }
    assert told[0]["line"] < told[1]["line"]
    assert len(encoder().stack(sys._getframe(), 2)) == 2
    assert encoder().stack(None) == []


def test_the_files_of_a_stack_are_redacted():
    assert encoder(redact=lambda text: f"<{text}>").stack(sys._getframe(), 1)[0]["file"] == f"<{__file__}>"


def test_names_are_remembered_and_told_anew_once_something_was_learned() -> None:
    asked: list[str] = []

    def redact(text: str) -> str:
        asked.append(text)
        return text.replace("learned", "[redacted]")

    one = encoder(redact, learn=lambda _: None)
    scope = {"count": 1, "learned_later": User(name="ana")}
    told = [one.encode_names(scope) for _ in range(3)]
    again = asked.count("count"), asked.count("learned_later")
    one.learn([b"learned"])
    one.encode_names(scope)

    assert told[0] == told[1] == told[2]
    assert list(told[0]) == ["count", "[redacted]_later"]
    assert again == (1, 1)
    assert (asked.count("count"), asked.count("learned_later")) == (2, 2)


def test_a_name_that_is_remembered_is_masked_where_it_is_a_hidden_value() -> None:
    one = encoder()
    assert list(one.encode_names({"swordfish": 1, "other": 2})) == ["swordfish", "other"]
    told = one.capture({"swordfish": 1, "other": 2}, {"password": "swordfish"})

    assert list(told["locals"]) == [REDACTED, "other"]
    assert list(one.encode_names({"swordfish": 1, "other": 2})) == ["swordfish", "other"]


def test_a_text_that_is_told_before_it_turns_out_to_be_hidden_is_masked_each_time() -> None:
    value = [{"note": "swordfish"}, {"note": "swordfish"}, User(password="swordfish"), {"note": "swordfish"}]

    assert "swordfish" not in json.dumps(encoder().encode(value))
