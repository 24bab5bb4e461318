"""The default filter: whose code it is, and which names are secret."""

from __future__ import annotations

import dataclasses
import json
import os
import sysconfig
from pathlib import Path

import pytest

import devtrace.errors
from devtrace.recorder import filter_builtin as builtin

SECRET = """
    password passwords user_password userPassword passwordHash PASSWORD _password password_ password1 passwd
    passphrase pwd secret secrets client_secret clientSecret api_key apiKey APIKey API_KEY api_keys X-Api-Key
    apiToken AUTH_TOKEN access_token accessToken id_token HTTPAuthToken token private_key ssh_key secret_key
    credentials creds bearer jwt pan userPan cvv cvv2 cvc ssn iban card_number cardNumber credit_card auth
    _auth authorization auth_header cookie cookies session_id sessionId otp get_password pass pw
"""
PUBLIC = """
    author authors authored company companies span spans expand panel pancake panda japan token_count
    tokenCount max_tokens tokens tokenizer next_token key monkey primary_key keyboard card cards user
    name path session
    password_file jwt_algorithm cookie_name auth_backend oauth authenticate secretary compass passed
    first_pass PWD OLDPWD discard standard otps hotpot isbn x i self cls args kwargs result
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_the_name_of_a_secret_is_known(name: str) -> None:
    assert builtin.is_secret(name)


@pytest.mark.parametrize("name", PUBLIC.split())
def test_a_name_that_only_holds_such_a_word_is_let_be(name: str) -> None:
    assert not builtin.is_secret(name)


def test_a_name_without_an_end_is_judged_by_its_start() -> None:
    assert builtin.is_secret("password" + "_x" * 1_000_000)


@pytest.mark.parametrize(
    "file",
    [
        json.__file__,
        json.decoder.__file__,
        sysconfig.get_path("stdlib") + "/lib-dynload/x.py",
        sysconfig.get_path("stdlib") + "/asyncio/base_events.py",
        os.__file__,
    ],
)
def test_the_standard_library_is_known(file: str) -> None:
    assert builtin.Origins().of(file, "json", "f") == builtin.STANDARD_LIBRARY


def test_the_standard_library_is_known_in_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "__file__", "/opt/python/lib/python311.zip/os.pyc")

    origins = builtin.Origins()

    archived = origins.of("/opt/python/lib/python311.zip/json/decoder.py", "json.decoder", "f")
    assert archived == builtin.STANDARD_LIBRARY
    assert origins.of("/opt/python/lib/other.py", "other", "f") == builtin.USER


def test_the_standard_library_is_known_by_a_link_and_by_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(os, "__file__", str(tmp_path / "link" / "os.py"))

    origins = builtin.Origins()

    for folder in ("link", "real"):
        assert origins.of(f"{tmp_path}/{folder}/json.py", "json", "f") == builtin.STANDARD_LIBRARY


@pytest.mark.parametrize(
    "file",
    [
        pytest.__file__,
        "/home/ana/shop/.venv/lib/python3.12/site-packages/flask/app.py",
        "/home/ana/.local/lib/python3.11/site-packages/flask/app.py",
        "/usr/lib/python3/dist-packages/apt/cache.py",
        "/home/ana/shop/.venv/lib/python3.12/site-packages/shop.egg/shop/cart.py",
    ],
)
def test_what_was_installed_is_known_wherever_it_is(file: str) -> None:
    assert builtin.Origins().of(file, "flask", "f") == builtin.INSTALLED


def test_devtrace_does_not_record_itself() -> None:
    assert builtin.Origins().of(devtrace.errors.__file__, "devtrace.errors", "f") == builtin.OURS


@pytest.mark.parametrize(
    "file",
    [
        "/home/ana/shop/cart.py",
        "/home/ana/src/editable/pkg/mod.py",  # an editable install
        "/home/ana/app.pyz/cart.py",
        "/home/ana/lib/python/cart.py",
        "/home/ana/devtrace/cart.py",
        "/home/ana/site-packages.py",
        __file__,
    ],
)
def test_all_else_is_the_users(file: str) -> None:
    assert builtin.Origins().of(file, "shop.cart", "f") == builtin.USER


@pytest.mark.parametrize(
    ("file", "module", "origin"),
    [
        ("<string>", "__main__", builtin.USER),
        ("<stdin>", "__main__", builtin.USER),
        ("<python-input-3>", "__main__", builtin.USER),
        ("<string>", "namedtuple_Point", builtin.GIVEN_TO_EXEC),
        ("<string>", None, builtin.GIVEN_TO_EXEC),
        ("<frozen os>", "os", builtin.NO_FILE),
        ("<frozen importlib._bootstrap>", "__main__", builtin.NO_FILE),
        ("<template>", "__main__", builtin.NO_FILE),
    ],
)
def test_code_without_a_file_is_the_users_where_they_typed_it(file: str, module: str, origin: str) -> None:
    assert builtin.Origins().of(file, module, "f") == origin


def test_what_dataclasses_generate_in_the_main_program_is_not_the_users() -> None:
    @dataclasses.dataclass
    class Price:
        cents: int

    code = Price.__init__.__code__

    assert builtin.Origins().of(code.co_filename, "__main__", code.co_qualname) == builtin.NO_FILE
