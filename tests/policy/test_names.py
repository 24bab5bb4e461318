"""Names and values judged by their looks."""

from __future__ import annotations

import pytest

from devtrace.policy.names import is_placeholder, is_secret_name, looks_random

SECRET_NAMES = """
    TOKEN API_TOKEN GITHUB_TOKEN_2 DB_PASSWORD db-password PASSWORD1 apiKey API_KEY X-API-KEY client_secret
    clientSecret SECRET_KEY_BASE AWS_SECRET_ACCESS_KEY MYSQL_PWD PGPASSWORD DB_PASS SMTP_PW GH_PAT SIGNING_KEY
    SSHPASS ENCRYPTION_KEY GOOGLE_CREDENTIALS npm_config_//registry.npmjs.org/:_authToken KEYSTORE_PASSPHRASE
"""
OTHER_NAMES = """
    KEY MONKEY HOTKEY PRIMARY_KEY CACHE_KEY PUBLIC_KEY TOKENS MAX_TOKENS TOKENIZER TOKEN_FILE TOKEN_URL
    TOKEN_TTL SECRETARY SECRET_NAME PASSWORD_MIN_LENGTH PASSWORD_FILE password-stdin PASSWORDLESS COMPASS PWD
    OLDPWD SSH_AUTH_SOCK SSH_ASKPASS GIT_ASKPASS CREDENTIAL_HELPER next_token pad_token first_pass PATH HOME
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_a_secrets_name_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_another_name_is_let_be(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value", [b"$X", b"${X}", b"<x>", b"***", b"xxxx", b"...", b"", b"%s", b"?", b"none", b"{x}"]
)
def test_a_placeholder_is_one(value: bytes) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize(
    "value", [b"hunter2", b"$up3r$ecret!", b"a$X", b"${X:-fallback}", b"<a", b"x1x1", b"{", b"%"]
)
def test_a_secret_is_no_placeholder(value: bytes) -> None:
    assert not is_placeholder(value)


def test_only_a_mix_of_letters_and_digits_looks_random() -> None:
    assert looks_random(b"a1b2c3d4", 8)
    assert not looks_random(b"a1b2c3d", 8)
    assert not looks_random(b"abcdefgh", 8)
    assert not looks_random(b"12345678", 8)
