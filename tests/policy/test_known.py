"""Known values: the secrets of the environment, wherever and however they are printed."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import shlex
import urllib.parse
from collections.abc import Callable

import pytest

from devtrace.policy.chain import Policy

VALUE = "tr0ub4dor&3/+horse"
Knowing = Callable[..., Policy]


@pytest.mark.parametrize(
    "name",
    [
        "API_TOKEN",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "MYSQL_PWD",
        "SMTP_PASS",
        "client_secret",
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_the_value_of_a_secret_named_variable_is_masked_anywhere(knowing: Knowing, name: str) -> None:
    policy = knowing(**{name: VALUE})

    assert VALUE not in policy.redact_text(f"echo {VALUE} and x{VALUE}y")
    assert VALUE.encode() not in policy.redact_bytes(f"\r\n{VALUE}\r\n{VALUE}{VALUE}".encode())
    assert policy.counts == {"known-value": 5}


@pytest.mark.parametrize(
    ("form", "is_whole"),
    [
        (urllib.parse.quote(VALUE, safe=""), True),
        (urllib.parse.quote(VALUE, safe="").lower(), True),
        (json.dumps(f'say "{VALUE}"'), False),
        (VALUE.replace("/", "\\/"), True),
        (VALUE.replace("&", "\\&"), True),
        (base64.b64encode(VALUE.encode()).decode(), True),
        (base64.b64encode(b"ana:" + VALUE.encode()).decode(), False),
        (base64.b64encode(b"oauth2:" + VALUE.encode() + b"\n").decode(), False),
        (base64.b64encode(b"x-user:" + VALUE.encode() + b"!!").decode(), False),
        (base64.urlsafe_b64encode(VALUE.encode()).decode(), True),
    ],
)
def test_a_known_value_is_found_in_other_clothes(knowing: Knowing, form: str, is_whole: bool) -> None:
    redacted = knowing(API_TOKEN=VALUE).redact_text(f"x {form} y")

    assert "[redacted:known-value:" in redacted
    assert form not in redacted
    if is_whole:
        assert len(redacted) <= len("x [redacted:known-value:0a1b2c3d]== y")


def test_all_clothes_of_a_value_have_the_marker_of_the_value(knowing: Knowing) -> None:
    forms = [VALUE, urllib.parse.quote(VALUE, safe=""), base64.b64encode(VALUE.encode()).decode().rstrip("=")]

    markers = {knowing(API_TOKEN=VALUE).redact_text(form) for form in forms}

    assert len(markers) == 1


def test_the_json_form_of_a_value_with_quotes_and_umlauts_is_found(knowing: Knowing) -> None:
    value = 'gänse"füße\\9'
    policy = knowing(API_TOKEN=value)

    for form in (value, json.dumps(value), json.dumps(value, ensure_ascii=False), shlex.quote(value)):
        assert "nse" not in policy.redact_text(f"a {form} b")


def test_the_value_is_found_in_bytes_as_in_text(knowing: Knowing) -> None:
    value = "ключ-от-всего"
    policy = knowing(API_TOKEN=value)

    assert value.encode() not in policy.redact_bytes(b"\xff" + value.encode() + b"\xfe")
    assert value not in policy.redact_text(f"\udcff{value}\udcfe")


def test_a_value_that_is_not_utf_8_is_found(knowing: Knowing) -> None:
    policy = knowing(API_TOKEN="caf\udce9-crème")

    assert policy.redact_bytes(b"<caf\xe9-cr\xc3\xa8me>").startswith(b"<[redacted:")


def test_a_value_of_several_lines_is_found_as_a_terminal_prints_it(knowing: Knowing) -> None:
    policy = knowing(SIGNING_KEY="first line 1\nsecond line 2")

    assert policy.redact_bytes(b"$ echo\r\nfirst line 1\r\nsecond line 2\r\n").startswith(
        b"$ echo\r\n[redacted:"
    )


@pytest.mark.parametrize("seed", range(20))
def test_escape_sequences_within_a_value_do_not_hide_it(knowing: Knowing, seed: int) -> None:
    chance = random.Random(seed)
    kinds = [
        b"\x1b[m",
        b"\x1b[1;31m",
        b"\x1b[38;5;208m",
        b"\x1b[K",
        b"\x1b(B",
        b"\x1b[38:2::1:2:3m",
        b"\x1b=",
    ]
    coloured = b"".join(
        (chance.choice(kinds) if chance.random() < 0.4 else b"") + bytes((byte,)) for byte in VALUE.encode()
    )

    redacted = knowing(API_TOKEN=VALUE).redact_bytes(b"before " + coloured + b" after")

    marker = knowing(API_TOKEN=VALUE).redact_bytes(VALUE.encode())
    assert redacted.count(marker) == 1
    assert redacted.startswith(b"before ")
    assert redacted.endswith(b" after")
    for kind in kinds:
        assert redacted.count(kind) == coloured.count(kind), "a colour was lost"


def test_the_password_of_a_url_in_the_environment_is_known_without_the_url(knowing: Knowing) -> None:
    policy = knowing(DATABASE_URL="postgres://ana:s3cr3t-word@db/x")

    assert policy.redact_text("psql: s3cr3t-word?").startswith("psql: [redacted:known-value:")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", "abcde"),
        ("API_TOKEN", "true"),
        ("API_TOKEN", "disabled"),
        ("API_TOKEN", "none"),
        ("DB_PASSWORD", "postgres"),
        ("DB_PASSWORD", "password"),
        ("DB_PASSWORD", "changeme"),
        ("DB_PASSWORD", "1234567"),
        ("API_TOKEN", "$OTHER_TOKEN"),
        ("API_TOKEN", "<token>"),
        ("API_TOKEN", "********"),
        ("TOKEN_FILE", "/run/secrets/token"),
        ("PASSWORD_STORE_DIR", "/home/ana/.password-store"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-abc/agent.99"),
        ("GIT_ASKPASS", "/usr/bin/askpass"),
        ("EDITOR", "emacs-29.4"),
        ("CACHE_KEY", "deps-cache"),
    ],
)
def test_what_is_no_secret_is_not_masked_everywhere(knowing: Knowing, name: str, value: str) -> None:
    text = f"words with {value} among them"

    assert knowing(**{name: value}).redact_text(text) == text


def test_a_password_with_a_dollar_is_no_placeholder(knowing: Knowing) -> None:
    assert "$uper$ecret" not in knowing(DB_PASSWORD="$uper$ecret").redact_text("it is $uper$ecret here")


def test_a_random_looking_key_is_known_by_its_looks(knowing: Knowing) -> None:
    value = "sk_live_0123456789abcdefXYZ"

    assert value not in knowing(STRIPE_KEY=value).redact_text(f"charge {value}")


def test_nothing_is_known_of_an_empty_environment(knowing: Knowing) -> None:
    assert knowing().redact_text("anything at all") == "anything at all"
    assert knowing(API_TOKEN="").redact_text("anything at all") == "anything at all"


@pytest.mark.parametrize("value", ["p@ss/w0rd+with \"q'$x\\y", "a&b<c>d!e(f)*'g"])
@pytest.mark.parametrize(
    "written",
    [
        lambda value: urllib.parse.quote(value),
        lambda value: urllib.parse.quote(value, safe=""),
        lambda value: urllib.parse.quote(value, safe="!'()*"),
        lambda value: urllib.parse.quote(value, safe=";,/?:@&=+$!'()*#"),
        shlex.quote,
        lambda value: json.dumps(json.dumps(value)),
        lambda value: (
            json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        ),
        lambda value: html.escape(value, quote=False).replace('"', "&quot;"),
        lambda value: '"' + re.sub(r'([$`"\\])', r"\\\1", value) + '"',
    ],
)
def test_a_value_is_found_as_tools_write_it(knowing, value: str, written) -> None:
    text = written(value)
    masked = knowing(MY_TOKEN=value).redact_text(f"see {text} end")

    assert "[redacted:" in masked
    assert text.strip("\"'") not in masked
