"""Secrets by their place in a header, a file, a connection string."""

from __future__ import annotations

import base64

import pytest

from devtrace.policy import commands, places, secrets
from devtrace.policy.chain import Policy
from devtrace.policy.reasons import RULE_REASONS
from tests.policy.conftest import takes_no_rule_for_ever

SECRET = "s3cr3t-Zx81"
PAIR = base64.b64encode(f"ana:{SECRET}".encode()).decode()
SALTED = "$6$rounds=5000$saltsalt$" + "aB3." * 21 + "x1"


@pytest.mark.parametrize(
    ("rule", "before", "secret", "after"),
    [
        ("authorization", "Authorization: Bearer ", SECRET, "\r\n"),
        ("authorization", "> authorization: token ", SECRET, "\r\n"),
        ("authorization", "Authorization: Basic ", PAIR, "\r\n"),
        ("authorization", "Proxy-Authorization: Basic ", PAIR, "\r\n"),
        ("authorization", "curl -H 'Authorization: ApiKey ", SECRET, "' https://example.org"),
        ("authorization", '{"Authorization": "Bearer ', SECRET, '"}'),
        ("authorization", "Authorization: ", "k7Lm0pQr9sTu2vWx", "\r\n"),
        ("secret-variable", "X-Api-Key: ", SECRET, "\r\n"),
        ("secret-variable", "curl -H 'Private-Token: ", SECRET, "' https://example.org"),
        ("authorization", 'req.Header.Set("Authorization", "Bearer ', SECRET, '")'),
        ("authorization", "headers['Authorization'] = 'Bearer ", SECRET, "'"),
        ("authorization", "'Authorization' => 'Bearer ", SECRET, "'"),
        ("authorization", "('Authorization', 'Basic ", PAIR, "')"),
        ("authorization", "[b'authorization', b'Bearer ", SECRET, "']"),
        ("cookie", "Cookie: theme=dark; session=", SECRET, "; lang=en\r\n"),
        ("cookie", "Set-Cookie: sid=", SECRET, "; Path=/; HttpOnly\r\n"),
        ("cookie", "curl -b 'PHPSESSID=", SECRET, "' https://example.org"),
        ("netrc-password", "machine example.org login ana password ", SECRET, "\n"),
        ("netrc-password", "machine example.org\n  login ana\n  password ", SECRET, "\n"),
        ("netrc-password", "+machine example.org\n+\tlogin ana\n+\tpassword ", SECRET, "\n"),
        ("npm-auth", "_auth=", PAIR, "\n"),
        ("secret-variable", "//registry.example.org/:_authToken=", SECRET, "\n"),
        ("secret-variable", "//registry.example.org/:_password=", SECRET, "\n"),
        ("docker-auth", '{"auths": {"r.example.org": {"auth": "', PAIR, '"}}}'),
        ("docker-auth", '{\\"auth\\": \\"', PAIR, '\\"}'),
        ("pgpass-password", "db.example.org:5432:shop:ana:", SECRET, "\n"),
        ("pgpass-password", "*:*:*:ana:", SECRET, "\n"),
        ("pgpass-password", "db.example.org:6000:shop:ana:", SECRET, "\n"),
        ("connection-password", "ana:", SECRET, "@tcp(127.0.0.1:3306)/db"),
        ("connection-password", 'sql.Open("mysql", "ana:', SECRET, '@unix(/run/mysql.sock)/db")'),
        ("command-password", "ALTER USER ana WITH PASSWORD '", "correcthorse", "';"),
        ("command-password", "CREATE USER ana WITH ENCRYPTED PASSWORD '", "correcthorse", "'"),
        ("command-password", "psql -c \"alter role ana password '", "correcthorse", "'\""),
        ("command-password", "CREATE USER 'ana'@'%' IDENTIFIED BY '", "correcthorse", "';"),
        ("command-password", "mysql -e 'CREATE USER ana IDENTIFIED BY \"", "correcthorse", "\"'"),
        ("command-password", "SET PASSWORD FOR ana = PASSWORD('", "correcthorse", "')"),
        ("command-password", "SET PASSWORD FOR 'ana'@'localhost' = '", "correcthorse", "';"),
        ("command-password", "127.0.0.1:6379> AUTH ", "correcthorse", "\n"),
        ("command-password", "127.0.0.1:6379> AUTH ana ", "correcthorse", "\n"),
        ("command-password", "AUTH ", SECRET, "\n"),
        ("command-password", "requirepass ", "correcthorse", "\n"),
        ("command-password", 'CONFIG SET requirepass "', "correcthorse", '"'),
        (
            "secret-variable",
            "AWS Secret Access Key [None]: ",
            "wJalrXUtnFEMIK7MDENGbPxRfiCYq8Zt2Lm5Nv9X",
            "\n",
        ),
        ("password-hash", "ana:", "$apr1$saltsalt$" + "aB3.x" * 4 + "aB", "\n"),
        ("password-hash", "root:", SALTED, ":19000:0:99999:7:::\n"),
        ("password-hash", "ana:", "$2y$10$" + "aB3.x" * 10 + "aB3", "\n"),
        ("password-hash", "ana:", "{SSHA}" + "aB3x" * 8, "\n"),
        ("password-hash", "'", "pbkdf2_sha256$600000$saltsalt$" + "aB3x" * 10, "'"),
        ("connection-password", "Server=db;Uid=ana;Pwd=", SECRET, ";Encrypt=true"),
        ("connection-password", "https://example.org/?user=ana&pass=", SECRET, "&x=1"),
        ("connection-password", "jdbc:oracle:thin:ana/", SECRET, "@db:1521:orcl"),
        ("secret-variable", "Server=db;User Id=ana;Password=", SECRET, ";Encrypt=true"),
        ("secret-variable", "jdbc:mysql://db/shop?user=ana&password=", SECRET, "&ssl=true"),
    ],
)
def test_a_secret_in_its_place_is_masked_and_the_rest_is_kept(
    policy: Policy, rule: str, before: str, secret: str, after: str
) -> None:
    redacted = policy.redact_text(before + secret + after)

    assert redacted.startswith(f"{before}[redacted:{rule}:")
    assert redacted.endswith(f"]{after}")
    assert policy.redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "benign",
    [
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer ${TOKEN}",
        "Authorization: Bearer <token>",
        "Authorization: Bearer ${{ secrets.X }}",
        '"Authorization": "Bearer ${{ secrets.GITHUB_TOKEN }}"',
        'curl -H "Authorization: token ${GITHUB_TOKEN:-none}"',
        'curl -H "Authorization: Bearer $(cat token1.txt)"',
        'req.Header.Set("Authorization", "Bearer " + token)',
        "CREATE USER ana WITH PASSWORD '$PASSWORD';",
        "ALTER USER ana WITH PASSWORD :'pw';",
        "AUTH failed for user ana",
        "AUTH PLAIN LOGIN",
        "a.py:1234:foo:bar:baz",
        "Authorization: token required to read this",
        "Authorization: Bearer token is missing",
        "Authorization: see the next page",
        "headers['Authorization'] = f'Bearer {token}'",
        'headers = {"Authorization": "Bearer " + token}',
        "WWW-Authenticate: Bearer realm=example",
        "Cookie: theme=dark; lang=en",
        "Set-Cookie: theme=dark; Path=/; Max-Age=3600",
        "the cookie: a small file",
        "machine learning needs no password at all",
        "the default password is here",
        "machine example.org login ana password $PASSWORD",
        '"auth": "required", "auths": {}',
        '"auth": "aGVsbG8gd29ybGQ="',
        "_auth=${NPM_AUTH}",
        "cd /tmp;PWD=/home/ana",
        "pass=1; fail=2; pass=3",
        "make test && pass=yes",
        "00:16:3e:aa:bb:cc 2001:5432:abcd:ef01:2345:6789",
        "127.0.0.1:5432:tcp open",
        "src/main.c:5432:7: error: x",
        "awk '{print $1$2}' and \"$1$suffix\" and $6$7",
        "jdbc:oracle:thin:@db:1521:orcl",
    ],
)
def test_what_only_looks_like_such_a_place_survives(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


def test_every_rule_has_its_reason() -> None:
    rules = commands.RULE_IDS | places.RULE_IDS | secrets.RULE_IDS

    assert rules | {"known-value"} == RULE_REASONS.keys()


@pytest.mark.parametrize(
    "hostile",
    [
        "Authorization: ",
        "Authorization: Bearer ",
        "Cookie: a=",
        "Cookie: a=b; ",
        "machine a login ",
        "machine ",
        '"auth": "',
        "_auth=",
        "a:5432:b:c:",
        ":5432:",
        "$6$",
        "$y$aaaa",
        ";pwd=",
        "&pass='",
        "jdbc:oracle:a:b/",
        "{SSHA}aaaa",
        "pbkdf2_sha256$",
    ],
)
def test_no_text_takes_the_rule_for_ever(policy: Policy, hostile: str) -> None:
    takes_no_rule_for_ever(policy, hostile)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile",
    [
        "machine " + "+" * 8000,
        "default login " + "+" * 8000,
        "machine a\n" + "\n+" * 4000,
        "machine a login b password " * 300,
        "alter user a password " * 400,
        "identified with " * 500,
        "set password for = " * 400,
        "\nAUTH a " * 1000,
        "Secret Access Key [" * 400,
        "a:b@tcp(" * 1000,
        ":1234:a:b:" * 800,
    ],
)
def test_a_hostile_text_of_some_kilobytes_is_judged_at_once(policy: Policy, hostile: str) -> None:
    """What backtracks in the square or the cube of the length takes minutes, and the others no second."""
    policy.redact_text(hostile)

    assert "policy-failure" not in policy.counts
