"""What may be kept of a file: by its name, by what is in it, by what HEAD shows everybody."""

from __future__ import annotations

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.contents import Contents, is_secret_path, placeholder

SALT = b"s" * 32
KEY = b"kD9x-2fLq81ZpVw"


@pytest.fixture
def contents():
    return Contents(Policy.for_session({}, SALT), SALT)


def never() -> bool:
    return False


@pytest.mark.parametrize(
    "path",
    [
        b".env", b"a/.env", b".env.production", b"prod.env", b".ENV", b"id_ed25519", b"home/.ssh/id_rsa",
        b"a/server.pem", b"x.key", b"deploy.p12", b".aws/credentials", b"h/.aws/credentials",
        b".docker/config.json", b".npmrc", b"terraform.tfstate", b"prod.tfvars", b"service-account-7.json",
        b"\xff/id_ed25519",
    ],
)  # fmt: skip
def test_these_names_are_secret(contents, path):
    assert is_secret_path(path)
    kept = contents.judge(path, b"harmless", never)
    assert kept.withheld == "path"
    assert b"harmless" not in kept.data


@pytest.mark.parametrize(
    "path",
    [
        b"id_rsa.pub", b".env.example", b"env", b"a.env.md", b"environment", b"keys/readme", b"key.py",
        b"pem", b"x.key/readme", b".env/readme", b"docker/config.json", b"myid_rsa", b"credentials.md",
    ],
)  # fmt: skip
def test_these_names_are_plain(contents, path):
    assert not is_secret_path(path)
    assert contents.judge(path, b"harmless", never) == (b"harmless", None, None)


def test_a_secret_inside_is_redacted(contents):
    data = b"region = eu\npassword = " + KEY + b"\n"

    kept = contents.judge(b"settings.ini", data, never)

    assert kept.withheld == "secret"
    assert KEY not in kept.data
    assert b"region = eu" in kept.data
    assert kept.hmac == contents.mac(data)


@pytest.mark.parametrize("path", [b".env", b"settings.ini"])
def test_what_head_has_is_kept_as_it_is(contents, path):
    data = b"password = " + KEY + b"\n"

    assert contents.judge(path, data, lambda: True) == (data, None, None)


def test_nobody_asks_head_about_a_harmless_file(contents):
    asked = []

    contents.judge(b"a", b"harmless", lambda: asked.append(1) or False)

    assert asked == []


def test_equal_contents_leave_equal_words_and_changed_ones_others(contents):
    one, same, other = (contents.judge(b".env", data, never) for data in (b"A=1", b"A=1", b"A=2"))

    assert one == same
    assert one.data != other.data
    assert one.hmac != other.hmac


def test_another_store_s_words_tell_nothing(contents):
    other = Contents(Policy.for_session({}, b"t" * 32), b"t" * 32)

    assert contents.judge(b".env", b"A=1", never).data != other.judge(b".env", b"A=1", never).data


def test_without_a_salt_there_is_no_hmac():
    kept = Contents(Policy.for_session({}, SALT), None).judge(b".env", b"A=1", never)

    assert kept.hmac is None
    assert kept.data == b"[withheld by its name: 3 bytes]\n"


def test_any_bytes_are_judged(contents):
    for data in (b"", b"\0" * 100, bytes(range(256)), b"\xff\xfe" + "password".encode("utf-16-le")):
        assert contents.judge(b"f", data, never).data == data


def test_a_placeholder_says_why_and_how_large():
    assert placeholder("for its size", 7, "ab") == b"[withheld for its size: 7 bytes, hmac ab]\n"
