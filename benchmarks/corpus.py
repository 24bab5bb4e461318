"""A labelled corpus of secrets, made by rule and from a seed: what redaction must find.

The forms are written down here from what the vendors publish, and not taken from the rules under test, so
that a wrong form there shows. The held-out kinds are of vendors that do not exist: only where they stand can
tell what they are. The last part is passwords, in the places where commands and files put them.

Lives here: the kinds, the places, and `samples`. Not here: text without secrets (benign.py), the figures
(redaction.py), the floors (tests/policy/test_corpus.py).
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Callable, Iterator
from typing import NamedTuple

_LETTERS = string.ascii_letters
ALPHABETS = {
    "a": string.ascii_lowercase,
    "A": string.ascii_uppercase,
    "0": string.digits,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "l": string.ascii_lowercase + string.digits,
    "U": string.ascii_uppercase + string.digits,
    "w": _LETTERS + string.digits,
    "u": _LETTERS + string.digits + "-_",
    "b": _LETTERS + string.digits + "+/",
}

# `{w36}` stands for 36 characters of the alphabet `w`.
PUBLISHED = {
    "AWS access key id": "AKIA{U16}",
    "AWS temporary key id": "ASIA{U16}",
    "GitHub personal token": "ghp_{w36}",
    "GitHub OAuth token": "gho_{w36}",
    "GitHub server token": "ghs_{w36}",
    "GitHub fine-grained token": "github_pat_{w22}_{w59}",
    "GitLab personal token": "glpat-{u20}",
    "GitLab deploy token": "gldt-{u20}",
    "GitLab runner token": "glrt-{u20}",
    "Slack bot token": "xoxb-{012}-{013}-{w24}",
    "Slack user token": "xoxp-{012}-{012}-{013}-{h32}",
    "Slack app token": "xapp-1-{U11}-{013}-{h64}",
    "Stripe live key": "sk_live_{w24}",
    "Stripe restricted key": "rk_live_{w99}",
    "Google API key": "AIza{u35}",
    "Google OAuth secret": "GOCSPX-{u28}",
    "Google access token": "ya29.{u160}",
    "npm token": "npm_{w36}",
    "PyPI token": "pypi-AgEIcHlwaS5vcmc{u150}",
    "RubyGems key": "rubygems_{h48}",
    "Docker Hub token": "dckr_pat_{u27}",
    "crates.io token": "cio{w32}",
    "NuGet key": "oy2{l43}",
    "SendGrid key": "SG.{u22}.{u43}",
    "Mailgun key": "key-{h32}",
    "Mailchimp key": "{h32}-us{02}",
    "Twilio key": "SK{h32}",
    "Telegram bot token": "{010}:AA{u33}",
    "DigitalOcean token": "dop_v1_{h64}",
    "Databricks token": "dapi{h32}",
    "Anthropic key": "sk-ant-api03-{u93}AA",
    "OpenAI project key": "sk-proj-{u74}T3BlbkFJ{u74}",
    "Hugging Face token": "hf_{w34}",
    "Replicate token": "r8_{w37}",
    "Groq key": "gsk_{w52}",
    "Perplexity key": "pplx-{w48}",
    "Vault service token": "hvs.{u95}",
    "Terraform Cloud token": "{w14}.atlasv1.{u67}",
    "Doppler token": "dp.pt.{w43}",
    "Pulumi token": "pul-{h40}",
    "Linear key": "lin_api_{w40}",
    "Notion token": "ntn_{011}{w35}",
    "Airtable token": "pat{w14}.{h64}",
    "Postman key": "PMAK-{h24}-{h34}",
    "Figma token": "figd_{u40}",
    "New Relic user key": "NRAK-{U27}",
    "Grafana service token": "glsa_{w32}_{h8}",
    "Sentry user token": "sntryu_{h64}",
    "Shopify token": "shpat_{h32}",
    "Square token": "sq0atp-{u22}",
    "Fly token": "fo1_{u43}",
    "PlanetScale token": "pscale_tkn_{u43}",
    "Tailscale key": "tskey-auth-{w17}-{w32}",
    "Azure AD secret": "{w3}8Q~{w34}",
    "age key": "AGE-SECRET-KEY-1{bech58}",
    "JSON web token": "eyJ{w34}.eyJ{w60}.{u43}",
}
ALPHABETS["bech"] = "023456789ACDEFGHJKLMNPQRSTUVWXYZ"

HELD_OUT = {
    "zorblax": "zbx_{w32}",
    "quuxcloud": "QX-{U24}",
    "velmora": "vm.{u40}",
    "hex": "{h40}",
    "base64": "{b43}=",
    "letters and digits": "{w24}",
    "two parts": "{l12}.{w28}",
    "upper case": "{U32}",
}

# Where a credential stands that its form must tell: the names say nothing.
NEUTRAL = {
    "export": "export SOME_VALUE={}\n",
    "YAML": "server:\n  value: {}\n  port: 80\n",
    "JSON": '{{"id": 7, "value": "{}", "ok": true}}\n',
    "JSON in JSON": '{{"line": "some\\n{}\\nother"}}\n',
    "diff": "@@ -1,2 +1,2 @@\n-    value\n+    value = '{}'\n",
    "header": "> GET /v1 HTTP/1.1\r\n> X-Other: {}\r\n> Accept: */*\r\n",
    "URL": "https://api.example.org/v1?value={}&page=2\n",
    "option": "$ tool --value {} --verbose\n",
    "colour beside": "\x1b[1mvalue\x1b[0m \x1b[32m{}\x1b[0m\r\n",
    "colour inside": "value \x1b[7m{<}\x1b[27m\x1b[K{>}\r\n",
    "two chunks": "value {<}\0{>} end\n",
}
# Where what stands beside it must tell.
TELLING = {
    "export": "export ZORBLAX_API_TOKEN={}\n",
    "YAML": "zorblax:\n  api_token: {}\n  region: eu\n",
    "JSON": '{{"user": "ana", "clientSecret": "{}"}}\n',
    "JSON in JSON": '{{"line": "{{\\"api_key\\": \\"{}\\"}}"}}\n',
    "diff": '@@ -1,2 +1,2 @@\n-  retries = 3\n+  zorblax_secret_key = "{}"\n',
    "header": "> GET /v1 HTTP/1.1\r\n> Authorization: Bearer {}\r\n> Accept: */*\r\n",
    "own header": "curl -H 'X-Api-Key: {}' https://api.example.org/v1\n",
    "URL": "https://api.example.org/v1?access_token={}&page=2\n",
    "user of a URL": "https://ana:{}@git.example.org/a.git\n",
    "option": "$ zorblax deploy --auth-token {} --verbose\n",
    "option with =": "$ zorblax deploy --client-secret={} --verbose\n",
    "colour beside": "\x1b[1mapi_token\x1b[0m=\x1b[32m{}\x1b[0m\r\n",
    "colour inside": "API_TOKEN=\x1b[7m{<}\x1b[27m\x1b[K{>}\r\n",
    "XML": "<server><password>{}</password></server>\n",
    "HCL": 'variable "api_token" {{\n  type    = string\n  default = "{}"\n}}\n',
    "a container's environment": "env:\n  - name: ZORBLAX_TOKEN\n    value: {}\n",
    "two chunks": "API_TOKEN={<}\0{>} make\n",
}
# Where commands and files put a password.
PLACES = {
    "curl -u": "curl -sS -u ana:{} https://example.org\n",
    "curl --proxy-user": "curl --proxy-user 'ana:{}' https://example.org\n",
    "wget": "wget --user=ana --password={} https://example.org/a\n",
    "mysql": "mysql -h db -uroot -p{} shop\n",
    "mysqldump in ssh": "ssh web 'mysqldump -uroot -p{} shop' | gzip\n",
    "mongo": "mongosh -u ana -p {} db.example.org\n",
    "redis": "redis-cli -h cache -a {} ping\n",
    "sshpass": "sshpass -p {} ssh ana@web uptime\n",
    "LDAP": "ldapsearch -x -D cn=admin -w {} -b dc=example\n",
    "docker login": "docker login -u ana -p {} registry.example.org\n",
    "docker login by a pipe": "echo {} | docker login -u ana --password-stdin registry.example.org\n",
    "gh by a here-string": "gh auth login --with-token <<< {}\n",
    "sudo by a pipe": "$ echo {} | sudo -S apt-get update\n",
    "chpasswd": "echo ana:{} | sudo chpasswd\n",
    "az": "az login -u ana@example.org -p {}\n",
    "htpasswd": "htpasswd -b /etc/nginx/.htpasswd ana {}\n",
    "openssl": "openssl enc -aes-256-cbc -pass pass:{} -in a -out b\n",
    "openssl -passin": "openssl rsa -in k.pem -passin pass:{} -out p.pem\n",
    "gpg": "gpg --batch --passphrase {} -d a.gpg\n",
    "zip": "zip -r -P {} a.zip dir\n",
    "7z": "  412  7z a -p{} a.7z dir\n",
    "unrar": "unrar x -p{} a.rar\n",
    "smbclient": "smbclient //nas/share -U ana%{}\n",
    "rdesktop": "rdesktop -u ana -p {} win\n",
    "xfreerdp": "xfreerdp /u:ana /p:{} /v:win\n",
    "sqlplus": "sqlplus ana/{}@orcl\n",
    "sqlcmd": "sqlcmd -S db -U sa -P {} -Q 'select 1'\n",
    "psql": 'psql "host=db user=ana password={} dbname=shop"\n',
    "ssh-keygen": "ssh-keygen -t ed25519 -N {} -f id\n",
    "net use": "net use Z: \\\\nas\\share {} /user:ana\n",
    "expect": 'expect "password:"\nsend "{}\\r"\n',
    "basic header": "Authorization: Basic {base64}\n",
    "token header": "> authorization: token {}\r\n",
    "Cookie": "Cookie: theme=dark; session={}; lang=en\r\n",
    "Set-Cookie": "< Set-Cookie: sid={}; Path=/; HttpOnly\r\n",
    "netrc": "machine api.example.org\n  login ana\n  password {}\n",
    "npmrc": "//registry.example.org/:_authToken={}\n",
    "npmrc, old": "_auth={base64}\nregistry=https://registry.example.org/\n",
    "pypirc": "[pypi]\nusername = ana\npassword = {}\n",
    "git-credentials": "https://ana:{}@git.example.org\n",
    "docker config": '{{"auths": {{"r.example.org": {{"auth": "{base64}"}}}}}}\n',
    "pgpass": "db.example.org:5432:shop:ana:{}\n",
    "connection string": "Server=db;Database=shop;User Id=ana;Password={};Encrypt=true\n",
    "connection string, short": "Driver=x;Server=db;Uid=ana;Pwd={};\n",
    "JDBC": "jdbc:mysql://db:3306/shop?user=ana&password={}&useSSL=true\n",
    "JDBC of Oracle": "jdbc:oracle:thin:ana/{}@db:1521:orcl\n",
    "PGPASSWORD": "PGPASSWORD={} psql -h db -U ana shop\n",
    "MYSQL_PWD": "sudo env MYSQL_PWD={} mysql -h db\n",
    "YAML": "database:\n  user: ana\n  password: {}\n",
    "YAML in a diff": " database:\n-  password: {}\n+  password: $DB_PASSWORD\n",
    "JSON": '{{"user": "ana", "password": "{}"}}\n',
    "XML": "<user>ana</user><password>{}</password>\n",
    "HCL": '  username = "ana"\n  password = "{}"\n',
    "properties": "spring.datasource.username=ana\nspring.datasource.password={}\n",
    "Dockerfile": 'CMD ["mysql", "-uroot", "-p{}", "shop"]\n',
    "Python": 'connect(host="db", user="ana", password="{}")\n',
    "Python, a dict": "config = {{'user': 'ana', 'password': '{}'}}\n",
}
_RUN = re.compile(r"\{(bech|[aA0hHlUwub])(\d+)\}")


class Sample(NamedTuple):
    """A text in which a secret stands; `chunks`: as it arrives, one after the other."""

    part: str  # "published", "held out", "places"
    kind: str
    context: str
    secret: str
    chunks: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)


def samples(seed: int, times: int = 1) -> Iterator[Sample]:
    """Every kind in every context, so many times, each with a value of its own."""
    chance = random.Random(seed)
    for _ in range(times):
        for part, kinds, contexts in (
            ("published", PUBLISHED, NEUTRAL),
            ("held out", HELD_OUT, TELLING),
        ):
            for kind, form in kinds.items():
                for context, frame in contexts.items():
                    yield _placed(part, kind, context, frame, made(form, chance), chance)
        for context, frame in PLACES.items():
            yield _placed("places", "password", context, frame, password(chance), chance)


def made(form: str, chance: random.Random) -> str:
    """A credential of that form, its last character a letter or a digit."""
    while True:
        text = _RUN.sub(lambda run: "".join(chance.choices(ALPHABETS[run[1]], k=int(run[2]))), form)
        if text.rstrip("=")[-1].isalnum() and re.search("[A-Za-z]", text) and re.search("[0-9]", text):
            return text


def password(chance: random.Random) -> str:
    """What people take: words and a number, or what a generator made."""
    words = ["correct", "horse", "battery", "staple", "summer", "winter", "dragon", "monkey", "velvet"]
    chosen = [word.capitalize() if chance.random() < 0.3 else word for word in chance.sample(words, 2)]
    shapes = (
        f"{chosen[0]}{chance.randrange(10, 9999)}",
        f"{chosen[0]}.{chosen[1]}_{chance.randrange(100)}",
        "".join(chance.choices(ALPHABETS["w"], k=chance.randrange(10, 20))) + "7x",
        f"{chosen[0]}{chosen[1]}",
        f"{chosen[0]}!{chance.randrange(100)}+{chosen[1]}",
    )
    return chance.choice(shapes)


def _placed(part: str, kind: str, context: str, frame: str, secret: str, chance: random.Random) -> Sample:
    cut = chance.randrange(1, len(secret))
    encoded = base64.b64encode(f"ana:{secret}".encode()).decode()
    if "{base64}" in frame:
        frame, secret = frame.replace("{base64}", "{}"), encoded
    frame = frame.replace("{<}", "{0}").replace("{>}", "{1}")
    text = frame.format(secret[:cut], secret[cut:]) if "{0}" in frame else frame.format(secret)
    return Sample(part, kind, context, secret, tuple(piece.encode() for piece in text.split("\0")))


def counted(seed: int, redact: Callable[[tuple[bytes, ...]], bytes]) -> dict[str, tuple[int, list[str]]]:
    """How many samples each part has, and which of them were not hidden, as `kind in context`."""
    parts: dict[str, tuple[int, list[str]]] = {}
    for sample in samples(seed):
        number, missed = parts.get(sample.part, (0, []))
        if not is_hidden(sample.secret, redact(sample.chunks)):
            missed = [*missed, f"{sample.kind} in {sample.context}: {sample.text!r}"]
        parts[sample.part] = (number + 1, missed)
    return parts


def is_hidden(secret: str, redacted: bytes) -> bool:
    """Whether nothing of a secret is left but what four of its bytes may tell, colours left out."""
    plain = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]|\[redacted:[a-z0-9-]+(?::[0-9a-f]{8})?\]", b"", redacted).decode()
    return not any(secret[at : at + 5] in plain for at in range(max(1, len(secret) - 4)))
