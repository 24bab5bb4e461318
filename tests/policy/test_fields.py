"""Fields of YAML, JSON, XML and their like: which values are secrets."""

from __future__ import annotations

import pytest

from devtrace.policy.chain import Policy
from tests.policy.conftest import takes_no_rule_for_ever

SECRET = "s3cr3t-Zx81"


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [
        ("db:\n  password: ", SECRET, "\n  user: ana\n"),
        ("db:\n  password: ", "letmein", "\n  user: ana\n"),
        ("db:\n  password: ", "hunter.two_3", "  # old\n"),
        ("password: ", "p@ss!word", "\n"),
        ("password: ", "20261121", "\n"),
        ("db:\n  password: '", "two words", "'\n"),
        ("- password: ", SECRET, "\n"),
        ("+  db_password: ", SECRET, "\n"),
        ("  12:  password: ", SECRET, "\n"),
        ("POSTGRES_PASSWORD: ", "example", "\n"),
        ("api_token: ", "q7w8e9r0t1y2", "\n"),
        ("client-secret: ", "abcdefghijklmnopqrstuvwxyz", "\n"),
        ('{"user": "ana", "password": "', SECRET, '"}'),
        ('{"password":"', "abc", '","user":"ana"}'),
        ('{"apiKey": "', "q7w8e9r0t1y2", '"}'),
        ('{\\"password\\": \\"', SECRET, '\\"}'),
        ("config = {'password': '", SECRET, "'}"),
        ("{ password: '", SECRET, "', user: 'ana' }"),
        ('password: str = "', SECRET, '"'),
        ('const token: string = "', SECRET, '";'),
        ("<password>", SECRET, "</password>"),
        ("<ns:Password>", "letmein", "</ns:Password>"),
        ("<key>Password</key>\n<string>", SECRET, "</string>"),
        ("  - name: DB_PASSWORD\n    value: ", SECRET, "\n"),
        ('{"name": "DB_PASSWORD", "value": "', SECRET, '"}'),
        ('variable "db_password" {\n  type = string\n  default = "', SECRET, '"\n}\n'),
        ('  password = "', SECRET, '"\n'),
        ("[db]\nuser = ana\npassword = ", "letmein", "\n"),
        ("[pypi]\r\npassword = ", "letmein", "\r\n"),
        ("ENV API_TOKEN ", "q7w8e9r0t1y2", "\n"),
        ("password: |\n  ", SECRET, "\n"),
        ("  token: >-\n    ", "q7w8e9r0t1y2", "\n  user: ana\n"),
        ("  token: |\n    ", "q7w8e9r0t1y2\n    z3x4c5v6b7n8", "\n  user: ana\n"),
        ('{"password":\n   "', SECRET, '"}'),
        ("  - --password\n  - ", SECRET, "\n  - --verbose\n"),
        ('  - "--password"\n  - "', SECRET, '"\n'),
        ("env: [{name: DB_PASSWORD, value: ", SECRET, "}]"),
        ('<add key="password" value="', SECRET, '"/>'),
        ("os.environ['DB_PASSWORD'] = '", SECRET, "'"),
        ("app.config['SECRET_KEY'] = '", "correcthorsebatterystaple", "'"),
        ("define('DB_PASSWORD', '", SECRET, "');"),
        ("'password' => '", SECRET, "',"),
        (':password => "', SECRET, '",'),
        ('os.Setenv("API_TOKEN", "', SECRET, '")'),
        ('x.put("password", "', SECRET, '")'),
        ('["--password", "', SECRET, '", "--verbose"]'),
        ("level=info token:", "q7w8e9r0t1y2", " done"),
    ],
)
def test_the_value_of_a_secrets_field_is_masked(policy: Policy, before: str, secret: str, after: str) -> None:
    redacted = policy.redact_text(before + secret + after)

    assert redacted.startswith(f"{before}[redacted:secret-variable:")
    assert redacted.endswith(f"]{after}")
    assert policy.redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "benign",
    [
        "    password: str\n",
        "    password: str | None = None\n",
        "    token: Token | None\n",
        "    password: SecretStr\n",
        "  password: string;\n  token?: string;\n",
        "    pub password: Option<String>,\n",
        "    password: password,\n    token: tokens.access,\n",
        "{password: e.password, token: t, secret: !0}",
        "  password: { type: String, required: true }\n",
        "def login(user: str, password: str, token: str = '') -> None:\n",
        "password: required\n",
        "Password: \n",
        "The password: it is what you chose.\n",
        "token: expired\n",
        "AssertionError: token: wrong\n",
        "  password: |\n    x\n",
        "  password: !vault |\n",
        "  password: *default\n",
        "  password: ${DB_PASSWORD}\n",
        "  password: {{ .Values.password }}\n",
        "  password: ${{ secrets.PASSWORD }}\n",
        "  password: $DB_PASSWORD\n",
        "  password: <your password>\n",
        "  password: ****\n",
        "  password: vault:secret/data/db\n",
        "  password: arn:aws:secretsmanager:eu:1:secret:db\n",
        "  secret: db-credentials\n  secretName: db-1a2b3c4d5e\n",
        "  password: [redacted:secret-variable:0a1b2c3d]\n",
        '{"password": "", "token": null, "secret": true}',
        '{"password": "Password", "token": "string"}',
        '{"password": "Enter your password", "token": "Your token:"}',
        '{"password": {"type": "string"}, "token_type": "bearer"}',
        '{"token": "access", "secret": "db-credentials"}',
        "'password': os.environ['PASSWORD'],",
        "password: process.env.PASSWORD,",
        "<password>${env.PASSWORD}</password>",
        "<password></password>",
        "mysql <password> <database>",
        '  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef: {name: db, key: "password"}\n',
        'variable "db_password" {\n  type = string\n  sensitive = true\n}\n',
        "password = getpass.getpass('Password: ')\nString token = read();\n",
        "https://x-access-token:$TOKEN@example.org",
        "password = value\n",
        "credentials: 'include'",
        'fetch(url, {credentials: "same-origin"})',
        "existingSecret: postgres-credentials-v2\n",
        "  secret: default-tls-2024\n",
        "os.environ['DB_PASSWORD'] = os.environ['OTHER_PASSWORD']",
        'd["password"] = "${DB_PASSWORD}"',
        'os.Setenv("API_TOKEN", token)',
        'x.put("token", "access_token_2")',
        'x.put("password", "letmein")',
        'parser.add_argument("--password", "-p", help="the password")',
        "  - --password\n  - --user\n",
        "  - name: password\n  - name: x2y3z4a5\n",
    ],
)
def test_types_labels_and_references_survive(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


@pytest.mark.parametrize(
    "hostile",
    [
        "password: ",
        '"password": "',
        "password: '\\",
        "<password>",
        "password>",
        "<key>password</key>",
        'variable "password" {',
        'name: "password"\n',
        "password: a,",
        "password: list[",
        "[a]\npassword = a\n",
        "[a]\nb = c\n",
        '\\"token\\": \\"',
    ],
)
def test_no_text_takes_the_rule_for_ever(policy: Policy, hostile: str) -> None:
    takes_no_rule_for_ever(policy, hostile)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile",
    [
        "-" * 4000 + ";" + "password: x9 " * 600,
        "1" * 4000 + ";" + "password: x9 " * 600,
        "password: |\n  " * 600,
        "- --password\n- " * 600,
        "'password', \"" * 800,
        "'password' => f\"" * 600,
        '"password":\n "' * 600,
        "password: |\n a\n" + " a\n" * 3000,
    ],
)
def test_a_hostile_text_of_some_kilobytes_is_judged_at_once(policy: Policy, hostile: str) -> None:
    policy.redact_text(hostile)

    assert "policy-failure" not in policy.counts
