"""Text without a secret, as terminals show it and files hold it all day: what redaction must leave alone.

Lives here: one function a kind, `KINDS`, `text_of`. Not here: text with secrets (corpus.py), the figures
(redaction.py), the floors (tests/policy/test_corpus.py).
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable

_WORD_LIST = """
    the a token secret password user key access refresh session login auth cache build file path line error
    warning value name config server client request response database column index module test service
    deploy cluster node image volume network header cookie scope grant issue rotate revoke expire encode
"""
_WORDS = _WORD_LIST.split()
_PACKAGE_LIST = "left-pad jsonwebtoken passport keytar token-types secret-stream js-tokens keyring serde"
_PACKAGES = _PACKAGE_LIST.split()


def text_of(make: Callable[[random.Random], str], size: int, seed: int) -> str:
    """So many bytes of one kind."""
    chance = random.Random(seed)
    pieces, length = [], 0
    while length < size:
        pieces.append(make(chance))
        length += len(pieces[-1].encode())
    return "".join(pieces)


def _word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_WORDS, k=count))


def _hex(chance: random.Random, size: int) -> str:
    return f"{chance.getrandbits(size * 4):0{size}x}"


def _version(chance: random.Random) -> str:
    return f"{chance.randrange(20)}.{chance.randrange(30)}.{chance.randrange(50)}"


def git_log(chance: random.Random) -> str:
    """`git log`."""
    return (
        f"\x1b[33mcommit {_hex(chance, 40)}\x1b[m\nAuthor: Ana <ana{chance.randrange(99)}@example.org>\n"
        f"Date:   Sat Nov 21 11:56:{chance.randrange(60):02} 2026 +0000\n\n    "
        f"{_words(chance, 6).capitalize()}\n\n"
        f"    {_words(chance, 12)}: password handling, token: {_word(chance)}.\n\n"
    )


def git_diff(chance: random.Random) -> str:
    """`git diff` of programs that deal in tokens."""
    one, two = _word(chance), _word(chance)
    return (
        f"diff --git a/src/{one}.py b/src/{one}.py\nindex {_hex(chance, 7)}..{_hex(chance, 7)} 100644\n"
        f"--- a/src/{one}.py\n+++ b/src/{one}.py\n@@ -{chance.randrange(900)},7 "
        f"+{chance.randrange(900)},9 @@\n"
        f"-    def login(self, user: str, password: str, token: Token | None = None) -> Session:\n"
        f"+    def login(self, user: str, password: SecretStr, *, token: str = '') -> Session:\n"
        f'+        payload = {{"user": user, "password": password, "token": self.{one}_token}}\n'
        f"+        self.password: str = {two}_password\n-        secret = {one}.secret\n"
        f"+        headers = {{'Authorization': f'Bearer {{token}}', 'X-Api-Key': settings.api_key}}\n"
    )


def npm_lock(chance: random.Random) -> str:
    """`package-lock.json`."""
    name, version = chance.choice(_PACKAGES), _version(chance)
    digest = base64.b64encode(chance.randbytes(64)).decode()
    return (
        f'    "node_modules/{name}": {{\n      "version": "{version}",\n'
        f'      "resolved": "https://registry.npmjs.org/{name}/-/{name}-{version}.tgz",\n'
        f'      "integrity": "sha512-{digest}",\n      "engines": {{\n        "node": ">=18"\n     '
        f" }}\n    }},\n"
    )


def poetry_lock(chance: random.Random) -> str:
    """`poetry.lock`."""
    name, version = chance.choice(_PACKAGES), _version(chance)
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\ndescription = "{_words(chance, 6)}"\n'
        f'optional = false\npython-versions = ">=3.9"\nfiles = [\n'
        f'    {{file = "{name}-{version}-py3-none-any.whl", hash = "sha256:{_hex(chance, 64)}"}},\n'
        f'    {{file = "{name}-{version}.tar.gz", hash = "sha256:{_hex(chance, 64)}"}},\n]\n\n'
    )


def cargo_lock(chance: random.Random) -> str:
    """`Cargo.lock`."""
    return (
        f'[[package]]\nname = "{chance.choice(_PACKAGES)}"\nversion = "{_version(chance)}"\n'
        f'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = '
        f'"{_hex(chance, 64)}"\n\n'
    )


def digests(chance: random.Random) -> str:
    """`sha256sum`, `docker images --digests`."""
    return (
        f"{_hex(chance, 64)}  dist/{_word(chance)}-{_version(chance)}.tar.gz\n"
        f"registry.example.org/{_word(chance)}@sha256:{_hex(chance, 64)}\n{_hex(chance, 40)} "
        f"refs/heads/{_word(chance)}\n"
    )


def json_log(chance: random.Random) -> str:
    """A service's log, a JSON object a line."""
    record = {
        "ts": f"2026-11-21T04:{chance.randrange(60):02}:{chance.randrange(60):02}.042Z",
        "level": chance.choice(["info", "warn"]),
        "msg": _words(chance, 6),
        "request_id": str(uuid.UUID(int=chance.getrandbits(128))),
        "trace_id": _hex(chance, 32),
        "path": f"/v1/{_word(chance)}/{_hex(chance, 24)}",
        "usage": {"input_tokens": chance.randrange(9999), "cache_key": _hex(chance, 16)},
        "token_type": "bearer",
        "token_expires_in": 3600,
    }
    return json.dumps(record) + "\n"


def pytest_output(chance: random.Random) -> str:
    """A test run with a failure."""
    return (
        f"tests/test_{_word(chance)}.py::test_{_word(chance)}_is_{_word(chance)}[token-"
        f"{chance.randrange(99)}]"
        f" \x1b[32mPASSED\x1b[0m\x1b[32m [{chance.randrange(100):3}%]\x1b[0m\n"
        f"E       assert token == expected_{_word(chance)}\nE        +  where password: None != "
        f"{chance.randrange(99)}\n"
        f"tests/test_{_word(chance)}.py:{chance.randrange(900)}: AssertionError: token: {_word(chance)}\n"
    )


def listings(chance: random.Random) -> str:
    """`ls -l`, `ps aux`, `dpkg -l`."""
    return (
        f"-rw-r--r-- 1 ana ana {chance.randrange(99999):6} Nov 21 11:56 "
        f"{_word(chance)}_{_word(chance)}.py\n"
        f"ana {chance.randrange(99999):7}  0.0  0.1 {chance.randrange(99999)} "
        f"{chance.randrange(9999)} ?  Ss  11:56   0:00"
        f" /usr/lib/{_word(chance)}/{_word(chance)}-daemon --{_word(chance)}-file=/run/"
        f"{_word(chance)}.pid -p {chance.randrange(9999)}\n"
        f"ii  lib{_word(chance)}{chance.randrange(9)}:amd64  {_version(chance)}-1ubuntu"
        f"{chance.randrange(9)}  amd64  {_words(chance, 5)}\n"
    )


def minified(chance: random.Random) -> str:
    """Minified JavaScript, in which every word stands before a colon."""
    one, two, three = (chance.choice("abcdefghijklmnop") for _ in range(3))
    return (
        f"function {one}({two},{three}){{var t={two}.token,n={{password:{three}.password,token:t,ap"
        f"iKey:{two}.apiKey}};"
        f'return t&&{three}.key==={chance.randrange(999)}?{{type:"password",name:"password",secret:'
        f"!0,token:null}}:"
        f'e.exports=n({chance.randrange(9999)}),{two}.setItem("token",t)}}!function(){{this.accessT'
        f"oken=void 0}}();"
    )


def images(chance: random.Random) -> str:
    """An image in base64."""
    return f'<img src="data:image/png;base64,{base64.b64encode(chance.randbytes(900)).decode()}">\n'


def documentation(chance: random.Random) -> str:
    """A page about authentication."""
    return chance.choice(
        (
            f"Set `API_TOKEN` to your token; the {_word(chance)} reads it. The password: "
            f"{_words(chance, 8)}.\n",
            "Send the header `Authorization: Bearer <token>` with every request.\n\n",
            '    curl -H "Authorization: Bearer $TOKEN" https://api.example.org/v1/users\n',
            "    curl -u <user>:<password> https://api.example.org/v1/\n    curl -u "
            "$USER:$PASSWORD https://x.example\n",
            "    mysql -u root -p shop < dump.sql\n    mysqldump -p$MYSQL_PASSWORD shop\n",
            f"| `password` | string | The {_words(chance, 5)}. |\n| `token` | string | A "
            f"{_word(chance)} token. |\n",
            "Password: required. Token: optional. Secret: see below.\n",
            'Use {"password": "<your password>", "token": "${TOKEN}", "api_key": "..."} in the body.\n',
            "  -p, --password PASSWORD   Your password. Use --password-stdin to read it from a pipe.\n",
            "    docker login -u ana -p $DOCKER_PASSWORD registry.example.org\n    export "
            "GITHUB_TOKEN=<token>\n",
            '    echo "$TOKEN" | docker login --username ana --password-stdin ghcr.io\n',
            "    cp -p a b; mkdir -p x/y; git log -p src; grep -w token file; tar -P -xf a.tar; ls "
            "-u; ssh -p 22 web\n",
            f"The session cookie: {_words(chance, 7)}. Authorization: {_words(chance, 4)}.\n",
            "A URL such as https://user:password@host/ leaks the password into logs; "
            "https://${USER}:${PASS}@host does not.\n"
            if chance.random() < 0.02
            else "See https://docs.example.org/auth?page=2#token for the whole story.\n",
        )
    )


def sources(chance: random.Random) -> str:
    """Programs with variables that are called like secrets."""
    word = _word(chance)
    return chance.choice(
        (
            f"    token = next(tokens)  # the {word}\n    password = getpass.getpass('Password: ')\n",
            f"    secret: str = field(default_factory=new_{word})\n    token: Token | None = None\n",
            "const token = req.headers.get('authorization')?.split(' ')[1];\nconst { password } "
            "= req.body;\n",
            "export interface Login {\n  user: string;\n  password: string;\n  token?: string;\n "
            " apiKey: string | null;\n}\n",
            'type Config struct {\n\tPassword string `json:"password"`\n\tToken    string `yaml:"'
            'token"`\n}\n',
            f"\treturn &Client{{token: token, password: cfg.Password, secretKey: opts.{word}Key}}\n",
            '    let token: String = env::var("API_TOKEN")?;\n    let secret = Secret::new(bytes);\n',
            "    pub password: Option<String>,\n    pub token: SecretString,\n    api_key: ApiKey,\n",
            f"    if token == 'expired' or password != confirm_password:\n        raise "
            f"{word.title()}Error('bad token')\n",
            f'    parser.add_argument("--password", default=os.environ.get("PASSWORD"), help="the '
            f'{word} password")\n',
            f"        'password' => env('DB_PASSWORD', ''),\n        'secret' => "
            f"config('services.{word}.secret'),\n",
            f'String password = request.getParameter("password");\nString token = tokens.get({word});\n',
            "  password: { type: String, required: true, select: false },\n  token: { type: String },\n",
            "assert response.json() == {'token': ANY, 'password': None, 'secret': mock.sentinel.secret}\n",
            f"    for key, token in tokens.items(): cache[key] = token.{word}\n",
            '  "password": "Password",\n  "login.token": "Token",\n  "enterPassword": "Enter your '
            'password",\n',
        )
    )


def manifests(chance: random.Random) -> str:
    """Helm and Terraform, GitHub workflows: only references."""
    word = _word(chance)
    return chance.choice(
        (
            f"  password: {{{{ .Values.{word}.password }}}}\n  existingSecret: {word}-credentials\n",
            f"        - name: DB_PASSWORD\n          valueFrom:\n            secretKeyRef:\n       "
            f"       name: {word}\n"
            f"              key: password\n",
            f"  password = var.{word}_password\n  token    = data.vault_generic_secret.{word}.data["
            f'"token"]\n',
            f'variable "{word}_password" {{\n  type      = string\n  sensitive = true\n}}\n',
            f"      token: ${{{{ secrets.GITHUB_TOKEN }}}}\n      password: ${{{{ secrets."
            f"{word.upper()}_PASSWORD }}}}\n",
            f"    secretName: {word}-tls\n    tokenPath: /var/run/secrets/{word}/token\n    key: "
            f"{word}.crt\n",
            "      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?not set}\n      API_TOKEN: ${API_TOKEN}\n",
            f"      POSTGRES_PASSWORD_FILE: /run/secrets/{word}\nsecrets:\n  {word}_password:\n    "
            f"file: ./{word}.txt\n",
            f'resource "aws_secretsmanager_secret" "{word}" {{\n  name = "{word}/password"\n  kms_k'
            f"ey_id = aws_kms_key.{word}.arn\n}}\n",
            f"imagePullSecrets:\n  - name: {word}\nserviceAccountToken:\n  expirationSeconds: "
            f"3600\n  path: token\n",
        )
    )


def help_text(chance: random.Random) -> str:
    """`--help`."""
    option = chance.choice(["token", "password", "api-key", "client-secret", "auth-token", "passphrase"])
    kind = chance.choice(["STRING", "string", "TEXT", "<value>", "$VALUE", ""])
    return (
        f"  -{option[0]}, --{option} {kind}   {_words(chance, 6)}\n"
        f"      --{option}-file PATH   {_words(chance, 4)} [env: {option.upper().replace('-', '_')}=]\n"
        f"Use --{option} to set the {_word(chance)}; or set {option.upper().replace('-', '_')} in "
        f"the environment.\n"
    )


def commands(chance: random.Random) -> str:
    """A history of commands whose options mean something else."""
    number = chance.randrange(9999)
    return chance.choice(
        (
            f"{number}  docker run -d -p 8080:{number} -e MODE={_word(chance)} nginx:{_version(chance)}\n",
            f"{number}  git log -p --since=2.weeks -- src/{_word(chance)}.py\n",
            f"{number}  curl -sSfL -o {_word(chance)}.tar.gz https://example.org/{_word(chance)}.tar.gz\n",
            f"{number}  mysql -h db -P 3306 -u root -p {_word(chance)}\n",
            f"{number}  zip -r {_word(chance)}.zip src -x '*.pyc'; unzip -p a.zip {_word(chance)}.txt\n",
            f"{number}  ssh -p 2222 ana@web 'cd /srv/{_word(chance)} && ls -u'\n",
            f"{number}  openssl x509 -in cert.pem -noout -text; openssl rand -hex 32\n",
            f"{number}  echo {_word(chance)} | grep -w {_word(chance)} | sudo tee /etc/{_word(chance)}\n",
            f"{number}  kubectl get secret {_word(chance)} -o yaml; kubectl create secret generic "
            f"{_word(chance)} --from-file=k\n",
            f"{number}  aws s3 ls s3://{_word(chance)}; gh pr list; az account show; net user; "
            f"send {_word(chance)}\n",
            f"{number}  7z x -p {_word(chance)}.7z -o{_word(chance)}; mkdir -p "
            f"{_word(chance)}/{_word(chance)}\n",
        )
    )


def build_log(chance: random.Random) -> str:
    """Docker's and a compiler's."""
    return (
        f"#{chance.randrange(30)} [stage-1 {chance.randrange(9)}/9] RUN apt-get install -y "
        f"{_word(chance)} zip curl\n"
        f"#{chance.randrange(30)} {chance.random() * 9:.3f} Get:{chance.randrange(99)} "
        f"http://deb.example.org/debian"
        f" bookworm/main amd64 {_word(chance)} amd64 {_version(chance)} [{chance.randrange(999)} kB]\n"
        f"src/{_word(chance)}/{_word(chance)}.c:{chance.randrange(999)}:{chance.randrange(80)}: "
        f"warning: unused variable"
        f" 'token' [-Wunused-variable]\n"
    )


def long_paths(chance: random.Random) -> str:
    """Paths, deep and long."""
    parts = [f"{_word(chance)}-{_word(chance)}_{_word(chance)}" for _ in range(6)]
    return f"/home/ana/work/{'/'.join(parts)}.py:{chance.randrange(999)}: {_word(chance)}\n"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "git log": git_log,
    "git diff": git_diff,
    "package-lock.json": npm_lock,
    "poetry.lock": poetry_lock,
    "Cargo.lock": cargo_lock,
    "digests": digests,
    "a JSON log": json_log,
    "pytest": pytest_output,
    "ls, ps, dpkg": listings,
    "minified JavaScript": minified,
    "images in base64": images,
    "pages about tokens": documentation,
    "sources about passwords": sources,
    "manifests": manifests,
    "--help": help_text,
    "commands": commands,
    "a docker build": build_log,
    "long paths": long_paths,
}
