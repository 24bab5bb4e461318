"""The rules: what is found by its shape, and what is left alone."""

from __future__ import annotations

import base64
import textwrap

import pytest

from devtrace.policy.chain import Policy

SECRET = "s3cr3t-Zx81"
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"


def pem(label: str = "PRIVATE KEY", lines: int = 3, end: bool = True) -> str:
    body = [f"{line}{BODY[2:]}"[:64] for line in range(10, 10 + lines)] + ["Zk9Q4nbR7Qw=="]
    return "\n".join([f"-----BEGIN {label}-----", *body, *([f"-----END {label}-----"] if end else [])])


def prefixed(text: str, prefix: str) -> str:
    return textwrap.indent(text, prefix, lambda _: True)


# --- private keys ---


@pytest.mark.parametrize(
    "label",
    [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ],
)
def test_a_private_key_of_any_family_becomes_one_marker(policy: Policy, label: str) -> None:
    redacted = policy.redact_text(f"before\n{pem(label)}\nafter\n")

    assert redacted.startswith("before\n[redacted:private-key:")
    assert redacted.endswith("]\nafter\n")
    assert policy.counts == {"private-key": 1}


def test_an_ssh2_key_with_four_dashes_is_a_key_too(policy: Policy) -> None:
    text = pem().replace("-----BEGIN PRIVATE KEY-----", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")
    text = text.replace("-----END PRIVATE KEY-----", "---- END SSH2 ENCRYPTED PRIVATE KEY ----")

    assert policy.redact_text(text).startswith("[redacted:private-key:")


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"])
@pytest.mark.parametrize("columns", [64, 76, 10_000])
def test_a_private_key_in_base64_becomes_one_marker(policy: Policy, label: str, columns: int) -> None:
    encoded = base64.b64encode(pem(label, lines=12).encode()).decode()
    lines = "\n".join(encoded[at : at + columns] for at in range(0, len(encoded), columns))

    redacted = policy.redact_text(f"client-key-data: {lines}\ndone\n")

    assert redacted.startswith("client-key-data: [redacted:private-key:")
    assert redacted.endswith("]\ndone\n")
    assert len(redacted) < 64


def test_a_certificate_in_base64_survives(policy: Policy) -> None:
    text = "data: " + base64.b64encode(pem("CERTIFICATE").encode()).decode() + "\n"

    assert policy.redact_text(text) == text


def test_a_private_key_without_an_end_is_masked_as_far_as_it_looks_like_one(policy: Policy) -> None:
    redacted = policy.redact_text(f"{pem(end=False)}\n$ make test\nall passed\n")

    assert redacted.endswith("]\n$ make test\nall passed\n")
    assert BODY[10:40] not in redacted
    assert "Zk9Q4nbR7Qw" not in redacted


def test_a_private_key_cut_off_within_a_line_is_masked_to_the_end(policy: Policy) -> None:
    whole = pem()
    for length in range(len("-----BEGIN PRIVATE KEY-----\n") + 1, len(whole)):
        redacted = policy.redact_text(whole[:length])
        assert BODY[8:16] not in redacted, length
        assert "Zk9Q" not in redacted, length


def test_the_end_of_a_private_key_is_masked_without_its_beginning(policy: Policy) -> None:
    tail = "\n".join(pem(lines=4).splitlines()[2:])

    redacted = policy.redact_text(f"$ tail -5 key.pem\n{tail}\n$ ")

    assert redacted.startswith("$ tail -5 key.pem\n[redacted:private-key:")
    assert redacted.endswith("]\n$ ")


def test_a_pgp_key_goes_with_its_headers_and_checksum(policy: Policy) -> None:
    lines = pem("PGP PRIVATE KEY BLOCK").splitlines()
    block = "\n".join([lines[0], "Version: GnuPG v2", "Comment: mine", "", *lines[1:-1], "=aB3d", lines[-1]])

    assert policy.redact_text(block).count("[redacted:private-key:") == 1
    assert "aB3d" not in policy.redact_text(block)
    without_beginning = policy.redact_text("\n".join(block.splitlines()[5:]))
    assert "Zk9Q" not in without_beginning
    assert "aB3d" not in without_beginning


@pytest.mark.parametrize("prefix", ["+", "-", " ", "> ", "    ", "| "], ids=repr)
@pytest.mark.parametrize("end", [True, False], ids=["whole", "without an end"])
def test_a_private_key_inside_a_diff_or_a_quotation_is_masked(policy: Policy, prefix: str, end: bool) -> None:
    redacted = policy.redact_text(f"diff --git a/k b/k\n{prefixed(pem(end=end), prefix)}\n@@ -1 +1 @@\n ok\n")

    assert redacted.startswith(f"diff --git a/k b/k\n{prefix}[redacted:private-key:")
    assert redacted.endswith("]\n@@ -1 +1 @@\n ok\n")


def test_a_numbered_private_key_is_masked(policy: Policy) -> None:
    numbered = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(pem(end=False).splitlines(), 1))

    assert BODY[8:16] not in policy.redact_text(numbered)


@pytest.mark.parametrize("end", [True, False], ids=["whole", "without an end"])
def test_a_private_key_in_one_line_of_json_is_masked(policy: Policy, end: bool) -> None:
    escaped = pem(end=end).replace("\n", "\\n")

    redacted = policy.redact_text(f'{{"key": "{escaped}", "id": 7}}')

    assert redacted.startswith('{"key": "[redacted:private-key:')
    assert redacted.endswith('", "id": 7}')


def test_a_private_key_that_a_terminal_coloured_is_masked_and_the_colours_end(policy: Policy) -> None:
    coloured = "".join(f"\x1b[32m+\x1b[m\x1b[32m{line}\x1b[m\r\n" for line in pem().splitlines())

    redacted = policy.redact_bytes(coloured.encode() + b"done\r\n")

    assert BODY[8:16].encode() not in redacted
    assert redacted.endswith(b"\x1b[m\r\ndone\r\n")


def test_two_private_keys_become_two_markers(policy: Policy) -> None:
    redacted = policy.redact_text(
        f"{pem()}\nand\n{pem('RSA PRIVATE KEY', end=False)}\nand\n{pem('EC PRIVATE KEY')}\n"
    )

    assert redacted.count("[redacted:private-key:") == 3
    assert redacted.count("\nand\n") == 2


@pytest.mark.parametrize(
    "benign",
    [
        "grep -c 'BEGIN RSA PRIVATE KEY' *.pem",
        'START = "-----BEGIN PRIVATE KEY-----"\nEND = "-----END PRIVATE KEY-----"\nimport os\n',
        "-----BEGIN PRIVATE KEY-----\n\nThat is how a key begins, and there is none.\n",
        "-----BEGIN PUBLIC KEY-----\n" + BODY + "\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\n" + BODY + "\n-----END CERTIFICATE-----\n",
    ],
)
def test_talk_about_keys_and_public_keys_survive(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


# --- passwords in URLs ---


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://ana:", "@example.org/repo.git"),
        ("git clone https://oauth2:", "@gitlab.example.org/a/b.git dir"),
        ("https://x-access-token:", "@github.com/a/b"),
        ("postgres://ana:", "@[::1]:5432/db?sslmode=require"),
        ("postgres://:", "@[2001:db8::1]/db"),
        ("redis://:", "@localhost:6379/0"),
        ("amqp://ana:", "@rabbit"),
        ("mongodb+srv://ana:", "@c0.example.net/?retryWrites=true"),
        ('DATABASE="mysql://ana:', '@db/x"'),
        ("<https://ana:", "@example.org>"),
        ("(see https://ana:", "@example.org)"),
        ('{"url": "https:\\/\\/ana:', '@example.org\\/x"}'),
        ("\x1b]8;;https://ana:", "@example.org\x07link\x1b]8;;\x07"),
        ("HTTPS://ANA:", "@EXAMPLE.ORG"),
    ],
)
def test_the_password_of_a_url_is_masked_and_the_rest_is_kept(
    policy: Policy, before: str, after: str
) -> None:
    redacted = policy.redact_text(f"{before}{SECRET}{after}")

    assert SECRET not in redacted
    assert redacted.startswith(before)
    assert redacted.endswith(after)
    assert policy.counts == {"url-password": 1}


@pytest.mark.parametrize(
    "password",
    ["p%40ss%2Fword", "p@ss", "a:b:c", "pa/ss", "pa?ss", "pa#ss", "ünïcödé", "12345678", "x=y", "!&*();,+"],
)
def test_an_unusual_password_of_a_url_is_masked_whole(policy: Policy, password: str) -> None:
    redacted = policy.redact_text(f"curl https://ana:{password}@example.org/x?y=1")

    assert redacted.startswith("curl https://ana:[redacted:url-password:")
    assert redacted.endswith("]@example.org/x?y=1")


def test_a_token_in_the_place_of_the_user_is_masked(policy: Policy) -> None:
    token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"

    assert policy.redact_text(f"https://{token}@github.com/a").startswith("https://[redacted:github-token:")
    assert token not in policy.redact_text(f"https://{token}:x-oauth-basic@github.com/a")


@pytest.mark.parametrize("place", range(1, len("https://ana:hunter21@example.org")))
def test_a_url_that_a_colour_splits_is_masked(policy: Policy, place: int) -> None:
    url = b"https://ana:hunter21@example.org"
    split = url[:place] + b"\x1b[1;31m\x1b[K" + url[place:]

    redacted = policy.redact_bytes(split + b"\x1b[m")

    assert b"hunt" not in redacted
    assert b"er21" not in redacted
    assert redacted.count(b"\x1b[1;31m\x1b[K") == 1


@pytest.mark.parametrize(
    "benign",
    [
        "https://example.org:8443/a@b",
        "http://localhost:3000/@vite/client",
        "https://ana@example.org/",
        "git+ssh://git@github.com:org/repo.git",
        "ssh://git@example.org:2222/x",
        "https://ana:$PASSWORD@example.org",
        "https://ana:${PASSWORD}@example.org",
        "https://ana:${{ secrets.PASSWORD }}@example.org",
        "https://ana:<password>@example.org",
        "https://ana:****@example.org",
        "https://{user}:{password}@{host}",
        "https://%s:%s@%s/",
        "https://ana:@example.org",
        "https://[::1]:8080/",
        "docker.io/library/nginx:1.27@sha256:0123",
        "mail ana@example.org or see http://example.org:80",
        "npm install foo@1.0 https://registry.example.org/bar@2.0",
        "https://ana:[redacted:url-password:0a1b2c3d]@example.org",
    ],
)
def test_a_url_without_a_password_survives(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


# --- secret-named variables ---


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [
        ("API_TOKEN=", SECRET, ""),
        ("export API_TOKEN=", SECRET, " && make"),
        ("export API_TOKEN=", SECRET, "; make"),
        ('export API_TOKEN="', "two words", '" && make'),
        ("export API_TOKEN='", "two words", "' && make"),
        ("export API_TOKEN=$'", "tab\\there", "' && make"),
        ('export API_TOKEN="', 'a \\"quoted\\" one', '" x'),
        ("export API_TOKEN='", "$uper$ecret", "'"),
        ("export API_TOKEN=", "two\\ words", " x"),
        ("export API_TOKEN=", "a'b c'\"d e\"f", " x"),
        ("export API_TOKEN=", "\"a b\"'c'", " x"),
        ("export API_TOKEN=", "pre${X}fix-9", " x"),
        ('export API_TOKEN="', "line one\nline two", '"\nmake'),
        ("declare -x API_TOKEN=", SECRET, "\ndeclare"),
        ("readonly db_password=", SECRET, ""),
        ("env -i API_TOKEN=", SECRET, " make test"),
        ("A=1 API_TOKEN=", SECRET, " B=2 make"),
        ("docker run -e API_TOKEN=", SECRET, " image"),
        ("docker run -e 'API_TOKEN=", "two words", "' image 'x y'"),
        ('docker run -e "API_TOKEN=', "two words", '" image "x y"'),
        ("bash -c 'export API_TOKEN=", SECRET, "' && echo 'x'"),
        ('{"command": "export API_TOKEN=', SECRET, '"}'),
        ("API_TOKEN+=", SECRET, ""),
        ("API_TOKEN ?= ", SECRET, ""),
        ("set -gx API_TOKEN ", SECRET, "; make"),
        ("set --export --global API_TOKEN '", "two words", "'"),
        ("setenv API_TOKEN ", SECRET, ""),
        ("mysql --password=", SECRET, " -h db"),
        ("mysql --password='", "two words", "' -h db"),
        ("mysql --password ", SECRET, " -h db"),
        ("mysql --password ", "letmein", " -h db"),
        ('mysql --password "', "two words", '" -h db'),
        ("app -token=", SECRET, " x"),
        ("app --api-key ", SECRET, " x"),
        ("app --client-secret=", SECRET, " x"),
        ("app --github-token=", SECRET, " x"),
        ("curl 'https://example.org/?access_token=", SECRET, "&x=1'"),
        ("db.password=", SECRET, "\ndb.user=ana"),
        ("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "\nregion = eu"),
        ("+DB_PASS=", SECRET, "\n"),
        ("clientSecret=", SECRET, ""),
        ("apiKey='", SECRET, "'"),
        ("MYSQL_PWD=", SECRET, " mysql"),
        ("PGPASSWORD=", SECRET, " psql"),
        ("SSHPASS=", SECRET, " sshpass -e ssh web"),
        ("A_TOKEN=", f"token=token={SECRET}", " x"),
        ("GH_PAT=", SECRET, ""),
        ("STRIPE_SECRET_KEY_LIVE=", SECRET, ""),
        ("DJANGO_SECRET_KEY='", "w&x(1)+#=z", "'"),
        ("connect(host=h, password='", SECRET, "', user=ana)"),
        ("host=h,password=", SECRET, ",user=ana"),
        ("PASSWORD=", "hunter", " make"),
        ("API_TOKEN=", "wörter9", " x"),
        ("API_TOKEN=", "[redacted]x9", ""),
        ("API_TOKEN=", "${X:-fallback1}", ""),
        ('API_TOKEN="', "never closed", "\nmake"),
    ],
)
def test_what_is_given_to_a_secrets_name_is_masked(
    policy: Policy, before: str, secret: str, after: str
) -> None:
    redacted = policy.redact_text(before + secret + after)

    assert redacted.startswith(before + "[redacted:secret-variable:")
    assert redacted.endswith("]" + after)
    assert len(redacted) == len(before + after) + len("[redacted:secret-variable:0a1b2c3d]")


@pytest.mark.parametrize(
    "benign",
    [
        "API_TOKEN=$OTHER make",
        "API_TOKEN=${OTHER}",
        'API_TOKEN="$OTHER"',
        "API_TOKEN=${OTHER:?not set}",
        "API_TOKEN=${OTHER:-}",
        'AUTH_TOKEN="Bearer $OTHER"',
        "API_TOKEN=$(cat token.txt)",
        'API_TOKEN="$(pass show token)"',
        "API_TOKEN=`cat token.txt`",
        "set -x API_TOKEN (cat token.txt)",
        "API_TOKEN=<token>",
        "API_TOKEN=<your token here>",
        "API_TOKEN=****",
        "API_TOKEN=xxxxxxxx",
        "API_TOKEN=...",
        "API_TOKEN=%API_TOKEN%",
        "API_TOKEN={{ token }}",
        "API_TOKEN: ${{ secrets.API_TOKEN }}",
        "API_TOKEN=${{ secrets.API_TOKEN }}",
        "API_TOKEN=[redacted:secret-variable:0a1b2c3d] make",
        "API_TOKEN= make",
        'API_TOKEN=""',
        "token=os.environ['API_TOKEN']",
        'token = os.environ["API_TOKEN"]',
        "token=os.getenv('API_TOKEN')",
        "token: process.env.API_TOKEN, password=process.env.DB",
        "f(token=token, password=password, secret=self.secret)",
        "password = getpass.getpass()",
        "password=get_password(user)",
        "token = next(tokens)",
        "token = parser.current",
        "if token == 'abc' or token != 'abcdef':",
        "print('token=' + token)",
        "WHERE password = ? AND token = %s",
        "password=:password",
        "password=None, token=null, secret=false",
        "monkey=1 keyboard=us primary_key=id foreign_key=user_id cache_key=abc123 sort_key=name",
        "KEY=value hotkey=ctrl-c turkey=1 tokens=100 max_tokens=4096 tokenizer=bert-base",
        "secretary=bob passwordless=true compass=north bypass=1 first_pass=3 tests_pass=120",
        "TOKEN_FILE=/run/secrets/token PASSWORD_STORE_DIR=/home/ana/.password-store",
        "TOKEN_TTL=3600 PASSWORD_MIN_LENGTH=12 SECRET_NAME=db token_count=12345 next_token=abc123def",
        "docker login --password-stdin --token-file tok.txt",
        "use --password to set the password, and --token for the token",
        "--password PASSWORD  the password\n--token TOKEN  the token\n--api-key string   the key",
        '<a accesskey="n" href="x">',
        "SSH_AUTH_SOCK=/tmp/ssh-x/agent.1 SSH_ASKPASS=/usr/bin/ask GIT_ASKPASS=echo",
        "PWD=/home/ana OLDPWD=/tmp",
        "token => abc123def",
    ],
)
def test_placeholders_programs_and_other_names_survive(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


def test_a_name_that_a_colour_splits_is_a_secrets_name_still(policy: Policy) -> None:
    redacted = policy.redact_bytes(
        f"\x1b[1mAPI_\x1b[31mTOK\x1b[0mEN=\x1b[32m{SECRET[:4]}\x1b[0m{SECRET[4:]}\x1b[K\n".encode()
    )

    assert SECRET[4:].encode() not in redacted
    assert SECRET[:4].encode() not in redacted
    assert redacted.endswith(b"\x1b[K\n")


def test_a_value_in_any_encoding_is_masked_to_its_last_byte(policy: Policy) -> None:
    for value in (b"caf\xe9-1999", "à-la-carte-9".encode(), "密码-密码9".encode(), b"\xa0\x85\xff9"):
        assert policy.redact_bytes(b"API_TOKEN=" + value + b" make").endswith(b"] make")


def test_redacting_again_changes_nothing(policy: Policy) -> None:
    once = policy.redact_text(
        f"API_TOKEN={SECRET} curl https://ana:{SECRET}@example.org '{pem()}' --password '{SECRET}'"
    )

    assert once.count("[redacted:") == 4
    assert policy.redact_text(once) == once


@pytest.mark.parametrize(
    "hostile",
    [
        "token=a" + "[" * 4000 + "!",
        "token=a" + "[x" * 2000 + "!",
        "token=a" + ".b" * 2000 + "!",
        "token=a" + "->b" * 1300 + "!",
        "token" + "-max-length" * 5000 + "x=value1",
        'token="' * 8000,
        "token='\\" * 8000,
        "token=$" * 8000,
        "token=${" * 8000,
        "token={{" * 8000,
        "token=" + "\\" * 60_000,
        "password" * 8000,
        "_pass" * 12_000,
        "key" * 20_000,
        "--token " * 8000,
        "https://a:" * 6000,
        "://" * 20_000,
        "https://a:b/@" * 5000,
        "https://" + "a:" * 30_000 + "@",
        "-----BEGIN PRIVATE KEY-----\n" * 2000,
        "-----END PRIVATE KEY-----\n" * 2000,
        "-----BEGIN PRIVATE KEY-----" + "A" * 60_000 + "!\n" * 10,
        "-----BEGIN PRIVATE KEY-----\n" + ("A" * 64 + "\n") * 1000,
        ("A" * 64 + "\n") * 1000 + "-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n" + "1: " * 20_000,
        "PRIVATE KEY" * 5000,
        "\x1b[" * 30_000,
        "\x1b[1;" * 15_000 + "m",
        "\x1b[0m" * 15_000 + "API_TOKEN=" + "\x1b[0mx" * 9000,
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_no_text_takes_the_rules_for_ever(policy: Policy, hostile: str) -> None:
    """A pattern that backtracks without an end would run into the timeout of the suite."""
    policy.redact_text(hostile)
    policy.redact_bytes(hostile[::-1].encode())
    policy.redact_output((hostile + "\n" + hostile).encode(), b"[[0,1]]")

    assert "policy-failure" not in policy.counts


@pytest.mark.parametrize(
    "text",
    [
        "printf 'timeout = 3\\nAPI_KEY = \"q7r8s9t0u1v2\"\\n' >settings.py",
        "echo 'password = \"corr3ct-horse\"' > f",
        "if x: DB_PASSWORD = 'corr3ct-horse'",
        'resource "x" "y" { secret_key = "corr3ct-horse" }',
    ],
)
def test_a_quoted_value_that_looks_random_is_masked_in_the_middle_of_a_line(
    policy: Policy, text: str
) -> None:
    masked = policy.redact_text(text)

    assert "corr3ct-horse" not in masked
    assert "q7r8s9t0u1v2" not in masked


@pytest.mark.parametrize(
    "text",
    ["if token = x then", "where password = 'secret'", 'the key = "value" pairs', "for token = 1 to 9"],
)
def test_words_in_the_middle_of_a_line_are_no_secrets(policy: Policy, text: str) -> None:
    assert policy.redact_text(text) == text


def test_the_value_of_an_option_in_the_next_line_is_masked(policy: Policy) -> None:
    redacted = policy.redact_text(f"deploy --password \\\n  {SECRET} --verbose\n")

    assert redacted.startswith("deploy --password \\\n  [redacted:secret-variable:")
    assert redacted.endswith("] --verbose\n")


@pytest.mark.parametrize(
    "benign",
    [
        "sed -i 's/password=.*/password=/' config.ini",
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        'session_key = f"{user_id}:{device}"',
        'cache_token = f"session:{user_id}"',
        "const TOKEN_KEY = 'auth_token'",
        "System.Core, Version=4.0.0.0, PublicKeyToken=b77a5c561934e089",
        "deploy --password \\\n  --verbose\n",
    ],
)
def test_patterns_sentences_and_names_of_names_survive(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile",
    [
        "password=$" * 1600,
        'token=f"{a}' * 1600,
        "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt" * 500,
        "LS0tLS1CRUdJTi\n" * 1000,
        "token, " * 2000,
    ],
)
def test_a_hostile_text_of_some_kilobytes_is_judged_at_once(policy: Policy, hostile: str) -> None:
    policy.redact_text(hostile)

    assert "policy-failure" not in policy.counts
