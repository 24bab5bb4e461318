"""What the usual credential files hold is read from each in its own format."""

from __future__ import annotations

import base64
import json

import pytest

from devtrace.policy.credentials import at_home, reader_of, values_in

HOME = "/home/ana"


def read(name: str, text: str) -> set[bytes]:
    """The secrets of a file of that name, at home or beside the work."""
    reader = reader_of(name) or at_home(HOME, {})[f"{HOME}/{name}"]
    return values_in(reader, text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "machine api.example.com login ana password corr3ct-horse\n",
        "machine api.example.com\n\tlogin ana\n\tpassword corr3ct-horse\n",
        'default login ana password "corr3ct-horse"\nmacdef init\nls password\n\n',
    ],
)
def test_netrc(text: str) -> None:
    assert b"corr3ct-horse" in read(".netrc", text)


def test_aws_credentials_without_the_key_id() -> None:
    text = (
        "[default]\naws_access_key_id = AKIDPUBLICPUBLIC\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG\n"
        "[other]\naws_session_token=IQoJb3JpZ2luX2VjEXAMPLE # comment\nregion = eu-west-1\n"
    )

    assert read(".aws/credentials", text) == {b"wJalrXUtnFEMI/K7MDENG", b"IQoJb3JpZ2luX2VjEXAMPLE"}


def test_npmrc_with_what_its_base64_hides() -> None:
    hidden = base64.b64encode(b"ana:corr3ct-horse").decode()
    text = f"registry=https://r.example\n//r.example/:_authToken=npm-t0ken-1\n//r.example/:_auth={hidden}\n"

    assert read(".npmrc", text) == {
        b"npm-t0ken-1", hidden.encode(), b"ana:corr3ct-horse", b"corr3ct-horse",
    }  # fmt: skip


def test_npmrc_that_names_a_variable_holds_no_secret() -> None:
    assert read(".npmrc", "//r.example/:_authToken=${NPM_TOKEN}\n") == set()


def test_pypirc() -> None:
    assert read(".pypirc", "[pypi]\nusername = __token__\npassword = pypi-t0ken\n") == {b"pypi-t0ken"}


def test_docker_config() -> None:
    auth = base64.b64encode(b"ana:corr3ct-horse").decode()
    auths = {"r.example": {"auth": auth}, "q.example": {"identitytoken": "t0ken-one"}, "e": {}}
    text = json.dumps({"auths": auths})

    assert read(".docker/config.json", text) == {
        auth.encode(), b"ana:corr3ct-horse", b"corr3ct-horse", b"t0ken-one",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": [1]}', '{"auths": {"a": 1}}', "[" * 100_000])
def test_a_docker_config_that_is_none_holds_nothing(text: str) -> None:
    assert read(".docker/config.json", text) == set()


def test_git_credentials_as_they_are_and_decoded() -> None:
    found = read(".git-credentials", "https://ana:corr3ct%21horse@git.example\nhttps://git.example\n")

    assert found == {b"corr3ct%21horse", b"corr3ct!horse"}


def test_a_token_in_the_users_place_of_git_credentials() -> None:
    token = "0123456789abcdef0123456789abcdef01234567"

    assert token.encode() in read(".git-credentials", f"https://{token}:x-oauth-basic@git.example\n")
    assert read(".git-credentials", f"https://{token}@git.example\n") == {token.encode()}


def test_pgpass_with_an_escaped_colon() -> None:
    found = read(".pgpass", "# db:1:*:*:not-this\ndb.example:5432:*:ana:corr3ct\\:horse\n")

    assert found == {b"corr3ct:horse"}


def test_github_and_cargo() -> None:
    assert read(".config/gh/hosts.yml", "github.com:\n    oauth_token: gho_abc12345\n") == {b"gho_abc12345"}
    assert read(".cargo/credentials.toml", '[registry]\ntoken = "cio-abc12345"\n') == {b"cio-abc12345"}


def test_an_env_file_by_the_names_in_it() -> None:
    text = (
        "# comment\nexport API_TOKEN=t0ken-one\nDB_PASSWORD='two words'\n"
        'MULTI_SECRET="line one\nline two"\n'
        "DATABASE_URL=postgres://ana:corr3ct-horse@db/x\nDEBUG=true\nPORT=8000\nNAME=plain-value\n"
        "OTHER_TOKEN=$API_TOKEN\nSHORT_TOKEN=abc\nA_SECRET=with-comment1 # the comment\n"
    )

    assert read(".env.local", text) == {
        b"t0ken-one", b"two words", b"line one\nline two", b"corr3ct-horse", b"with-comment1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", [".env.example", ".env.sample", ".env.template", "settings.py", ".envoy.yaml"]
)
def test_what_only_shows_how_it_would_look_is_no_credential_file(name: str) -> None:
    assert reader_of(name) is None


def test_the_environment_says_where_the_files_are() -> None:
    places = at_home(HOME, {"NETRC": "/etc/n", "DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/x"})

    assert {"/etc/n", "/d/config.json", "/x/git/credentials", f"{HOME}/.pypirc"} <= places.keys()
    assert f"{HOME}/.netrc" not in places
