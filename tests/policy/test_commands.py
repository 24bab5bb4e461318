"""Passwords by their place in a command: what is found, and what only looks like it."""

from __future__ import annotations

import pytest

from devtrace.policy.chain import Policy
from tests.policy.conftest import takes_no_rule_for_ever

SECRET = "s3cr3t-Zx81"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("curl -u ana:", " https://example.org"),
        ("curl -sSu 'ana:", "' https://example.org"),
        ("curl -uana:", " https://example.org"),
        ('curl --user "ana:', '" https://example.org'),
        ("curl --proxy-user ana:", " https://example.org"),
        ("curl -U ana:", " https://example.org"),
        ("wget --user=ana --password=", " https://example.org"),
        ("wget --http-password ", " https://example.org"),
        ("mysql -u root -p", " shop"),
        ("mysql -u root -p'", "' shop"),
        ("mysqldump -p", " shop > dump.sql"),
        ("mysqladmin -p", " ping"),
        ("mongo -u ana -p ", " db"),
        ("redis-cli -h db -a ", " ping"),
        ("redis-cli -a", " ping"),
        ("redis-cli -h db AUTH ", ""),
        ("mount -t cifs //nas/a /mnt -o user=ana,pass=", ",uid=1000"),
        ("mount -opass=", " //nas/a /mnt"),
        ("sshpass -p ", " ssh web"),
        ("sshpass -p", " ssh web"),
        ("ldapsearch -x -D cn=ana -w ", " -b x"),
        ("ldapmodify -w", " -f x"),
        ("docker login -u ana -p ", " registry.example.org"),
        ("podman login -p=", " registry.example.org"),
        ("helm registry login -u ana -p ", " registry.example.org"),
        ("az login -u ana -p ", ""),
        ("htpasswd -b .htpasswd ana ", ""),
        ("htpasswd -nbB ana ", " > .htpasswd"),
        ("openssl enc -aes-256-cbc -pass pass:", " -in a"),
        ("openssl rsa -passin pass:", " -in k -passout pass:$NEW"),
        ("openssl pkcs12 -export -passout pass:", " -in k"),
        ("openssl enc -aes-256-cbc -k ", " -in a"),
        ("openssl passwd -6 ", ""),
        ("gpg --batch --passphrase ", " -d a.gpg"),
        ("zip -P ", " a.zip b"),
        ("zip -rP ", " a.zip b"),
        ("7z a -p", " a.7z b"),
        ("unrar x -p", " a.rar"),
        ("smbclient //nas/share -U ana%", ""),
        ("smbclient //nas/share -U 'HOME\\ana%", "'"),
        ("rdesktop -u ana -p ", " win"),
        ("xfreerdp /u:ana /p:", " /v:win"),
        ("sqlplus ana/", "@orcl"),
        ("sqlplus -s ana/", ""),
        ("sqlcmd -S db -U sa -P ", " -Q x"),
        ("bcp shop out f -U sa -P", " -c"),
        ('psql "host=db password=', ' user=ana"'),
        ("ssh-keygen -t ed25519 -N ", " -f id"),
        ("net use Z: \\\\nas\\share ", " /user:ana"),
        ("net use \\\\nas\\share /user:ana ", ""),
        ("keytool -storepass ", " -list"),
        ("kubectl create secret generic db --from-literal=key=", ""),
        ("gh secret set NAME --body ", ""),
        ("npm config set //registry.example.org/:_authToken ", ""),
        ("aws configure set aws_secret_access_key ", ""),
        ("vault login ", ""),
    ],
)
def test_the_password_of_a_command_is_masked_and_the_rest_is_kept(
    policy: Policy, before: str, after: str
) -> None:
    redacted = policy.redact_text(before + SECRET + after)

    assert SECRET not in redacted
    assert redacted.startswith(f"{before}[redacted:")
    assert redacted.endswith(f"]{after}")
    assert policy.redact_text(redacted) == redacted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sudo mysql -p", " shop"),
        ("env A=1 mysql -p", " shop"),
        ("cd x && mysql -p", " shop"),
        ("cat dump.sql | mysql -p", " shop"),
        ("x=$(mysql -p", " shop)"),
        ("$ mysql -p", " shop"),
        ("ana@web:~/shop$ mysql -p", " shop"),
        ("  512  2026-11-21 mysql -p", " shop"),
        ("/usr/bin/mysql -p", " shop"),
        ("bash -c 'mysql -p", " shop' && echo 'x'"),
        ("ssh web 'mysql -p", " shop' | sort -k '2'"),
        ("ssh web 'mysql -p\"", "\" shop'"),
        ('ssh web "mysql -p\\"', '\\" shop"'),
        ('{"command": "mysql -p', ' shop", "exit": 0}'),
        ('CMD ["mysql", "-uroot", "-p', '", "shop"]'),
        ("run(['sshpass', '-p', '", "', 'ssh', 'web'])"),
        ("mysql \\\n  -u root \\\n  -p", " \\\n  shop"),
        ("time nice mysql -p", "; date"),
        ("# mysql -h db.example.org -p", ""),
    ],
)
def test_a_command_is_found_wherever_it_stands(policy: Policy, before: str, after: str) -> None:
    redacted = policy.redact_text(before + SECRET + after)

    assert redacted.startswith(f"{before}[redacted:command-password:")
    assert redacted.endswith(f"]{after}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("echo ", " | docker login -u ana --password-stdin"),
        ("echo -n '", "' | docker login -u ana --password-stdin"),
        ("printf '%s' ", " | gh auth login --with-token"),
        ("echo ", " | sudo -S apt-get update"),
        ("echo ana:", " | sudo chpasswd"),
        ("echo ", " | cryptsetup open /dev/sdb1 data"),
        ("docker login --password-stdin <<< ", ""),
        ('sudo -S true <<<"', '"'),
    ],
)
def test_what_is_piped_to_a_command_that_asks_is_masked(policy: Policy, before: str, after: str) -> None:
    redacted = policy.redact_text(before + SECRET + after)

    assert redacted.startswith(f"{before}[redacted:piped-password:")
    assert redacted.endswith(f"]{after}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('expect "password:" { send "', '\\r" }'),
        ('expect "*?assword:"\nsend -- "', '\\r"\ninteract'),
        ("child.expect('Password:')\nchild.sendline('", "')"),
    ],
)
def test_what_a_script_answers_to_a_password_prompt_is_masked(
    policy: Policy, before: str, after: str
) -> None:
    redacted = policy.redact_text(before + SECRET + after)

    assert redacted.startswith(f"{before}[redacted:prompt-answer:")
    assert redacted.endswith(f"]{after}")


def test_a_token_in_the_place_of_the_user_is_masked(policy: Policy) -> None:
    assert "tk0zz99xxaa11bb22" not in policy.redact_text("curl -u tk0zz99xxaa11bb22: https://example.org")


@pytest.mark.parametrize(
    "benign",
    [
        "cp -p file copy",
        "mkdir -p a/b",
        "ls -u",
        "git log -p src",
        "tar -P -xf a.tar",
        "grep -w word file",
        "ssh -p 2222 web",
        "psql -p 5432 shop",
        "docker run -p 8080:80 nginx",
        "docker run -p 8080:80 login",
        "docker compose -p login up",
        "mysql -u root -p shop",
        "mysql -P 3306 -h db",
        "mysql -p$MYSQL_PASSWORD shop",
        'mysql -p"$MYSQL_PASSWORD" shop',
        "mysql -p[redacted:command-password:0a1b2c3d] shop",
        "curl -u ana https://example.org",
        'curl -u "$USER:$PASSWORD" https://example.org',
        "curl -u ${USER}:${PASSWORD} https://example.org",
        "curl -u <user>:<password> https://example.org",
        "curl -u USER:PASSWORD https://example.org",
        "curl -u ana:[redacted:command-password:0a1b2c3d] https://example.org",
        "curl -u ana:**** https://example.org",
        "curl -p -o a https://example.org",
        "docker login -p <token>",
        "docker login -u ana --password-stdin",
        "sshpass -e ssh web",
        'sshpass -p "$PASSWORD" ssh web',
        "zip -P is the option for the password",
        "zip -r a.zip -x b",
        "unzip -p a.zip b.txt",
        "7z x -p a.7z",
        "openssl enc -pass env:NAME -in a",
        "openssl rsa -passin file:secret.txt",
        "openssl rand -hex 32",
        "sqlplus / as sysdba",
        "sqlplus ana@orcl",
        "smbclient //nas/share -U ana",
        "ssh-keygen -t ed25519 -N '' -f id",
        'ssh-keygen -t ed25519 -N "" -f id',
        "echo $TOKEN | docker login --password-stdin",
        'echo "${TOKEN}" | gh auth login --with-token',
        "echo hello | grep -w h",
        "echo hello | sudo tee /etc/motd",
        'grep x <<< "some text"',
        "npm config set registry https://registry.example.org",
        "kubectl get secret db -o yaml",
        "net user",
        'expect "continue?" { send "yes\\r" }',
        'expect "password:" { send "$password\\r" }',
        "send me the curl -u option, and docker login -p too",
    ],
)
def test_other_commands_and_placeholders_survive(policy: Policy, benign: str) -> None:
    assert policy.redact_text(benign) == benign


@pytest.mark.parametrize(
    "hostile",
    [
        "curl -u ",
        "mysql -p'",
        "bash -c 'mysql -p",
        'mysql -p"\\',
        "mysql -p$(",
        "echo x | ",
        "echo x|sudo ",
        "docker login <<<",
        "expect password ",
        'expect "password" send "',
        "net use \\\\",
        "htpasswd -b ",
        '["mysql", ',
        "wpa_passphrase 'a",
    ],
)
def test_no_text_takes_the_rule_for_ever(policy: Policy, hostile: str) -> None:
    takes_no_rule_for_ever(policy, hostile)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile",
    [
        "sshfs " * 1200 + "a" * 8000,
        " mount " + "a" * 16_000,
        "htpasswd " * 400 + "-" + "b" * 12_000,
        "htpasswd " * 400 + "-nb " * 3000,
        "htpasswd -nb " * 1200,
        "echo |secret " * 1200,
        "echo | sudo " * 1400,
        "curl \\\n" * 2000,
        "curl -u " * 2000,
    ],
)
def test_a_hostile_line_of_some_kilobytes_is_judged_at_once(policy: Policy, hostile: str) -> None:
    policy.redact_text(hostile + "\n")

    assert "policy-failure" not in policy.counts


def test_the_last_of_some_commands_in_a_line_keeps_its_password_as_well(policy: Policy) -> None:
    redacted = policy.redact_text(
        f"curl, and curl, and curl: curl -s a; curl -u ana:{SECRET} https://example.org"
    )

    assert SECRET not in redacted
