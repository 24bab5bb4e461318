"""Credentials of a known form: each kind in every place where one is printed, and what only looks like one.

Every credential is generated from its form, so that none stands in this file.
"""

from __future__ import annotations

import base64
import hashlib
import random
import string
import uuid

import pytest

from devtrace.policy.chain import CUT_END, CUT_START, Policy
from devtrace.policy.tokens import tokens

SEED = 20_261_121
UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
HEX, SMALL, BIG, MIXED = "0123456789abcdef", LOWER + DIGITS, UPPER + DIGITS, UPPER + LOWER + DIGITS
URL, BASE64, BECH32 = MIXED + "_-", MIXED + "+/", "023456789ACDEFGHJKLMNPQRSTUVWXYZ"

# `a{4}` in a form stands for four characters of the alphabet `a`.
ALPHABETS = {"x": HEX, "s": SMALL, "B": BIG, "m": MIXED, "u": URL, "b": BASE64, "d": DIGITS, "g": BECH32}
ID = "<x8>-<x4>-<x4>-<x4>-<x12>"
JWT = "eyJ<m17>.eyJ<m40>.<u42><m1>"

# (rule, what stands before the credential and is kept, the credential's form)
SAMPLES = [
    *(("aws-access-key", "", f"{prefix}<B16>") for prefix in ("AKIA", "ASIA", "ABIA")),
    ("aws-session-token", "", "IQoJb3JpZ2lu<b300>=="),
    ("aws-bedrock-key", "", "ABSK<b128>="),
    ("aws-mws-token", "", f"amzn.mws.{ID}"),
    ("gcp-api-key", "", "AIza<u34><m1>"),
    ("gcp-oauth-secret", "", "GOCSPX-<u27><m1>"),
    ("gcp-oauth-token", "", "ya29.<u120><m1>"),
    ("gcp-oauth-token", "", "ya29.c.<u120><m1>"),
    ("gcp-refresh-token", "", "1//0<u60><m1>"),
    ("azure-account-key", "AccountName=ana;AccountKey=", "<b86>=="),
    ("azure-shared-key", "SharedAccessKeyName=a;SharedAccessKey=", "<b43>="),
    ("azure-sas", "https://ana.blob.core.windows.net/c?sv=2024-11-04&sig=", "<m20>%2B<m22>%3D"),
    ("azure-ad-secret", "", "<m3>8Q~<m34>"),
    ("azure-devops-token", "", "<m76>AZDO<m4>"),
    ("azure-key", "", "<m52>JQQJ99<m26>"),
    *(("digitalocean-token", "", f"{prefix}_v1_<x64>") for prefix in ("dop", "doo", "dor")),
    ("alibaba-key-id", "", "LTAI5t<m17>7"),
    ("tencent-key-id", "", "AKID<m32>"),
    ("yandex-token", "", "AQVN<u35>"),
    ("scaleway-key-id", "", "SCW<B16>7"),
    ("cloudflare-token", "", "cfut_<m40><x8>"),
    ("cloudflare-origin-key", "", "v1.0-<x24>-<x146>"),
    *(("github-token", "", f"gh{letter}_<m36>") for letter in "pousr"),
    ("github-token", "", "github_pat_<m22>_<m59>"),
    *(
        ("gitlab-token", "", f"{prefix}-<u19><m1>")
        for prefix in ("glpat", "gldt", "glrt", "glptt", "glsoat", "glcbt")
    ),
    ("gitlab-token", "", "glpat-<u40><m1>.01.<s9>"),
    ("gitlab-token", "", "GR1348941<u19><m1>"),
    ("bitbucket-token", "", "ATBB<m32>"),
    ("atlassian-token", "", "ATATT3xFfGF0<u160>=<x8>"),
    ("sourcegraph-token", "", "sgp_<x16>_<x40>"),
    ("circleci-token", "", "CCIPAT_<m22>_<x40>"),
    ("buildkite-token", "", "bkua_<x40>"),
    ("terraform-token", "", "<m14>.atlasv1.<u66><m1>"),
    ("vault-token", "", "hvs.<u93><m1>"),
    ("vault-token", "", "hvb.<u140><m1>"),
    ("vault-token", "", "s.<m21>aB7"),
    ("doppler-token", "", "dp.pt.<m43>"),
    ("doppler-token", "", "dp.st.dev.<m43>"),
    ("pulumi-token", "", "pul-<x40>"),
    ("databricks-token", "", "dapi<x32>-2"),
    ("fly-token", "", "fo1_<u42><m1>"),
    ("fly-token", "FlyV1 ", "fm2_lJPECAAAAAAAA<b190>=="),
    ("heroku-token", "", "HRKU-<u59><m1>"),
    ("render-key", "", "rnd_<m31>7"),
    ("netlify-token", "", "nfp_<m36>"),
    ("vercel-token", "", "vercel_blob_rw_<m16>_<m32>"),
    ("vercel-token", "", "vcp_<m55>7"),
    ("supabase-token", "", "sbp_<x40>"),
    ("planetscale-token", "", "pscale_tkn_<u42><m1>"),
    ("planetscale-token", "", "pscale_pw_<u42><m1>"),
    ("neon-token", "", "napi_<s64>"),
    ("cockroach-token", "", "CCDB1_<m22>_<m40>"),
    ("mongodb-atlas-secret", "", "mdb_sa_sk_<u39><m1>"),
    ("aiven-password", "", "AVNS_<u18><m1>"),
    ("grafana-token", "", "glc_eyJ<m90>=="),
    ("grafana-token", "", "glsa_<m32>_<x8>"),
    ("grafana-token", "", "eyJrIjoi<m80>=="),
    ("newrelic-key", "", "NRAK-<B27>"),
    ("newrelic-key", "", "eu01xx<x26>FFFFNRAL"),
    ("datadog-key", "", "ddapp_<m33>7"),
    ("sentry-token", "", "sntrys_eyJ<m90>=_<m43>"),
    ("sentry-token", "", "sntryu_<x64>"),
    ("dynatrace-token", "", "dt0c01.<B24>.<B64>"),
    ("tailscale-key", "", "tskey-auth-<m17>-<m32>"),
    ("prefect-token", "", "pnu_<m36>"),
    ("sonar-token", "", "squ_<x40>"),
    ("jfrog-token", "", "AKCp<m69>"),
    ("linear-key", "", "lin_api_<m40>"),
    ("notion-token", "", "ntn_<d11><m35>"),
    ("notion-token", "", "secret_<m42>7"),
    ("airtable-token", "", "pat<m14>.<x64>"),
    ("postman-key", "", "PMAK-<x24>-<x34>"),
    ("okta-token", "", "00<u36>aB7c"),
    ("figma-token", "", "figd_<u39><m1>"),
    ("hubspot-token", "", f"pat-eu1-{ID}"),
    ("contentful-token", "", "CFPAT-<u42><m1>"),
    ("mapbox-token", "", "sk.eyJ<m60>.<u21><m1>"),
    ("dropbox-token", "", "sl.<u135><m1>"),
    ("npm-token", "", "npm_<m36>"),
    ("pypi-token", "", "pypi-AgEIcHlwaS5vcmc<u140><m1>"),
    ("rubygems-key", "", "rubygems_<x48>"),
    ("cratesio-token", "", "cio<m29>aB7"),
    ("nuget-key", "", "oy2<s42>7"),
    ("docker-token", "", "dckr_pat_<u26><m1>"),
    ("clojars-token", "", "CLOJARS_<s60>"),
    ("slack-token", "", "xoxb-<d12>-<d12>-<m24>"),
    ("slack-token", "", "xoxp-<d12>-<d12>-<d12>-<x32>"),
    ("slack-token", "", "xoxe.xoxp-1-<m146>"),
    ("slack-token", "", "xapp-1-A<B10>-<d13>-<x64>"),
    ("slack-webhook", "https://hooks.slack.com/services/", "T<B8>/B<B10>/<m24>"),
    ("discord-token", "", "MTIz<m20>.<u6>.<u37><m1>"),
    ("discord-webhook", "https://discord.com/api/webhooks/112233445566778899/", "<u67><m1>"),
    ("telegram-token", "", "7<d9>:AA<u32><m1>"),
    (
        "teams-webhook",
        "https://ana.webhook.office.com/webhookb2/",
        f"{ID}@{ID}/IncomingWebhook/<x32>/{ID}",
    ),
    ("twilio-key", "", "SK<x32>"),
    ("twilio-key", f"AC{'0a1b2c3d' * 4}:", "<x32>"),
    ("sendgrid-key", "", "SG.<u22>.<u42><m1>"),
    ("mailgun-key", "", "key-<x31>a"),
    ("mailgun-key", "", "<x32>-<x8>-<x8>"),
    ("mailchimp-key", "", "<x32>-us14"),
    ("brevo-key", "", "xkeysib-<x64>-<m16>"),
    ("resend-key", "", "re_<m8>_<m24>"),
    *(("stripe-key", "", f"{kind}_<m23>7") for kind in ("sk_live", "rk_live", "sk_test")),
    ("stripe-webhook-secret", "", "whsec_<m31>7"),
    ("square-token", "", "sq0atp-<u21><m1>"),
    ("square-token", "", "EAAA<u58>a7"),
    *(("shopify-token", "", f"{kind}_<x32>") for kind in ("shpat", "shpss", "shpca")),
    ("braintree-token", "", "access_token$production$<s16>$<x32>"),
    ("adyen-key", "", "AQE<b60>==-<b43>=-<m16>"),
    ("plaid-token", "", f"access-production-{ID}"),
    ("shippo-token", "", "shippo_live_<x40>"),
    ("anthropic-key", "", "sk-ant-api03-<u93>AA"),
    ("openai-key", "", "sk-proj-<u74>T3BlbkFJ<u73><m1>"),
    ("openai-key", "", "sk-svcacct-<u58>T3BlbkFJ<u57><m1>"),
    ("openai-key", "", "sk-<m20>T3BlbkFJ<m20>"),
    ("openai-key", "", "sk-<m47>7"),
    ("openrouter-key", "", "sk-or-v1-<x64>"),
    ("langfuse-key", "", f"sk-lf-{ID}"),
    ("langsmith-key", "", "lsv2_pt_<x32>_<x10>"),
    ("huggingface-token", "", "hf_<m34>"),
    ("replicate-token", "", "r8_<m37>"),
    ("groq-key", "", "gsk_<m52>"),
    ("perplexity-key", "", "pplx-<m48>"),
    ("xai-key", "", "xai-<m80>"),
    ("nvidia-key", "", "nvapi-<u63><m1>"),
    ("pinecone-key", "", "pcsk_<m5>_<m63>"),
    ("together-key", "", "tgp_v1_<u42><m1>"),
    ("elevenlabs-key", "", "sk_<x47>a"),
    ("cerebras-key", "", "csk-<s47>7"),
    ("tavily-key", "", "tvly-dev-<m31>7"),
    ("firecrawl-key", "", "fc-<x31>a"),
    ("fireworks-key", "", "fw_<m23>7"),
    ("e2b-key", "", "e2b_<x40>"),
    ("jwt", "", JWT),
    ("cloudflare-tunnel", "", "eyJhIjoi<m150>=="),
    ("age-key", "", "AGE-SECRET-KEY-1<g58>"),
    ("1password-token", "", "ops_eyJ<m250>"),
]
NOT_KNOWN_BY_THEIR_BEGINNING = {
    "azure-ad-secret",
    "azure-devops-token",
    "azure-key",
    "terraform-token",
    "newrelic-key",
    "mailchimp-key",
    "mailgun-key",
    "discord-token",
    "telegram-token",
}
CONTEXTS = {
    "bare": "{}",
    "a line of its own": "before\n{}\r\nafter\n",
    "a sentence": "The token is {}. Keep it, and ({}) too",
    "export": "export SOME_NAME={} && make",
    "quoted": "export SOME_NAME='{}'",
    "YAML": "env:\n  some: {}\n  other: 1\n",
    "JSON": '{{"some": "{}", "list": ["{}",1]}}',
    "JSON in JSON": '{{"text": "one\\n{}\\nsome=\\"{}\\"\\u001b[32m{}\\u001b[0m"}}',
    "diff": "@@ -1 +1 @@\n-{}\n+some = {}\n",
    "header": "curl -H 'Authorization: Bearer {}' https://example.org",
    "URL": "git clone https://x-access-token:{}@example.org/a/b.git",
    "query": "https://example.org/a?some={}&x=1 and some%3D{}",
    "option": "tool --some {} --other={} -v",
    "markdown": "| `{}` | <{}> | **{}** |",
}


def made(form: str, chance: random.Random) -> str:
    """A credential of that form: `<m36>` becomes 36 characters of the alphabet `m`."""
    text = ""
    for piece in form.replace("<", "\0<").replace(">", "\0").split("\0"):
        if piece.startswith("<"):
            text += "".join(chance.choices(ALPHABETS[piece[1]], k=int(piece[2:])))
        else:
            text += piece
    return text


def sample(number: int) -> tuple[str, str, str]:
    """(rule, what stands before it, the credential) of the kind of that number."""
    rule, before, form = SAMPLES[number]
    return rule, before, made(form, random.Random(SEED + number))


def found(text: str, edges: int = 0) -> list[tuple[str, str]]:
    """(rule, what is hidden) in the text."""
    data = text.encode()
    return [(rule, data[start:end].decode()) for start, end, rule, _ in tokens(data, edges)]


kinds = pytest.mark.parametrize(
    "number", range(len(SAMPLES)), ids=[f"{rule} {form[:12]} seed {SEED}" for rule, _, form in SAMPLES]
)


def test_there_are_many_kinds() -> None:
    assert len({rule for rule, _, _ in SAMPLES}) >= 45


@kinds
def test_a_credential_is_found_from_its_first_byte_to_its_last(number: int) -> None:
    rule, before, secret = sample(number)
    for name, context in CONTEXTS.items():
        hidden = found(context.replace("{}", "{0}").format(before + secret))

        assert hidden == [(rule, secret)] * context.count("{}"), (SEED, name)


@kinds
def test_a_credential_goes_from_output_of_a_terminal_wherever_a_colour_splits_it(
    policy: Policy, number: int
) -> None:
    rule, before, secret = sample(number)
    for place in {0, 1, 4, len(secret) // 2, len(secret) - 1}:
        text = f"{before}\x1b[1;32m{secret[:place]}\x1b[0m\x1b[K{secret[place:]}\x1b[m\r\nnext\r\n"

        redacted, _ = policy.redact_output(text.encode(), b"[[0,1]]")

        assert secret[8:-4].encode() not in redacted, SEED
        assert f"[redacted:{rule}:".encode() in redacted, SEED
        assert redacted.startswith(f"{before}\x1b[1;32m".encode()), SEED
        assert redacted.endswith(b"\x1b[m\r\nnext\r\n"), SEED


@kinds
def test_redacting_twice_changes_nothing_more(policy: Policy, number: int) -> None:
    _, before, secret = sample(number)
    for name, context in CONTEXTS.items():
        once = policy.redact_text(context.replace("{}", "{0}").format(before + secret))

        assert secret not in once, (SEED, name)
        assert policy.redact_text(once) == once, (SEED, name)


@kinds
def test_a_credential_within_a_longer_word_is_none(number: int) -> None:
    _, before, secret = sample(number)

    if not before:
        assert secret not in dict(found(f"abc{secret}")).values(), SEED


@pytest.mark.parametrize(
    "form", ["ghp_<m36>_<m4>", "AKIA<B17>", "AIza<m39>", "npm_<m36>_<m9>", "cio<m30>aB7"]
)
def test_a_credential_that_goes_on_as_a_longer_word_is_none(form: str) -> None:
    assert found(made(form, random.Random(SEED))) == [], SEED


@kinds
def test_a_credential_whose_end_was_not_kept_is_hidden(number: int) -> None:
    rule, before, secret = sample(number)
    if rule in NOT_KNOWN_BY_THEIR_BEGINNING or before:
        return
    prefix = len(SAMPLES[number][2].partition("<")[0])
    digit = next((place for place in range(prefix, len(secret)) if secret[place].isdigit()), prefix)
    for size in range(max(prefix + 12, digit + 1), len(secret)):  # letters alone may be a word
        hidden = found(f"see {secret[:size]}", CUT_END)

        assert secret[:size] in [text for _, text in hidden], (SEED, size)


def test_a_cut_hides_what_ends_there_and_nothing_else() -> None:
    secret = made("ghp_<m20>", random.Random(SEED))

    assert found(f"{secret} and more", CUT_END) == []
    assert found(f"see {secret}", CUT_START) == []
    assert found(f"see {secret}") == []
    assert found("see ghp_a1b2c3d", CUT_END) == []
    assert found("see ghp_a1b2c3d4", CUT_END) == [("github-token", "ghp_a1b2c3d4")]
    assert found("see ghp_xxxxxxxxxxxx", CUT_END) == []
    assert found("cd /usr/lib/python3/dist-packages/path", CUT_END) == []


@pytest.mark.parametrize("size", [30, 60, 90])
def test_the_end_of_a_credential_of_parts_is_hidden_without_its_beginning(size: int) -> None:
    rest = made(JWT, random.Random(SEED))[-size:]

    hidden = found(f"{rest}\nnext", CUT_START)

    assert hidden == ([("cut-value", rest)] if "." in rest or size >= 72 else []), SEED


@pytest.mark.parametrize(
    "placeholder",
    [
        "ghp_" + "x" * 36,
        "ghp_" + "X" * 36,
        "ghp_" + "*" * 36,
        "ghp_" + "a" * 36,
        "ghp_" + "0" * 36,
        "ghp_<your token>",
        "ghp_...",
        "sk-...",
        "sk-ant-...",
        "sk-ant-api03-your-key-goes-here-please-and-thanks",
        "sk-proj-your_api_key_goes_here_0123456789abcdef",
        "sk-" + "x" * 48,
        "sk_live_" + "x" * 24,
        "sk_test_your_key_1234567890",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "AKIA" + "X" * 16,
        "AKIA****************",
        "xoxb-your-slack-bot-token-here",
        "xoxb-" + "x" * 12 + "-" + "x" * 12,
        "https://hooks.slack.com/services/T00000000/B00000000/" + "X" * 24,
        "https://hooks.slack.com/services/$SLACK_PATH",
        "hf_" + "x" * 34,
        "glpat-" + "x" * 20,
        "glpat-your-token-goes-right-here",
        "npm_" + "x" * 36,
        "npm_config_registry_authentication_token_of_mine",
        "AccountKey=<key>;EndpointSuffix=core.windows.net",
        "Bearer $TOKEN",
        "eyJ...",
        "age-encryption.org/v1 AGE-SECRET-KEY-1...",
    ],
)
def test_placeholders_stay(policy: Policy, placeholder: str) -> None:
    assert found(placeholder) == []
    assert policy.redact_text(f"use {placeholder} here") == f"use {placeholder} here"


@pytest.mark.parametrize(
    "benign",
    [
        "cache-key-0123456789abcdef0123456789abcdef",
        "s.startswith_something_long(self.everything_else_here)",
        "disk-0123456789abcdef0123456789abcdef task-sk-0123456789abcdef0123456789abcdef",
        "pathological/patterns/patternMatching14.py patch-0123456789abcdef0123456789abcdef",
        "https://hooks.slack.com/services and https://discord.com/api/webhooks/112233445566778899",
        "SK0123 AC0123456789abcdef0123456789abcdef sk_buff_head_init_class_with_a_long_name",
        "?sig=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "v1.0-0123456789abcdef sk.eyJ pk_live_0123456789abcdefABCDEF01",
        "127.0.0.1:8080 12:34:56.789012345 1234567890:AA",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ],
)
def test_what_only_begins_like_a_credential_stays(benign: str) -> None:
    assert found(benign) == []


def test_hashes_identifiers_paths_images_and_words_stay() -> None:
    chance = random.Random(SEED)
    words = ["key", "token", "path", "sk", "pat", "pul", "fc", "cio", "hf", "secret", "00", "npm", "re", "fw"]
    words += ["sig", "dapi", "build", "cache", "s", "b", "t1", "pypi", "prod", "dp", "age", "ops", "AC", "SK"]
    lines = []
    for number in range(4000):
        data = chance.randbytes(24)
        digest = hashlib.sha256(data)
        lines += [
            f"{digest.hexdigest()}  dist/{'_'.join(chance.choices(words, k=4))}-{number}.tar.gz",
            f"{hashlib.sha1(data).hexdigest()} {uuid.UUID(bytes=data[:16])} {hashlib.md5(data).hexdigest()}",
            f"/home/ana/{'/'.join(chance.choices(words, k=5))}/{'-'.join(chance.choices(words, k=5))}.py",
            f'"integrity": "sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}",',
            f"sha256:{digest.hexdigest()} {chance.choice(words)}-{digest.hexdigest()[:12]}",
            f"{chance.choice(words)}={'.'.join(chance.choices(words, k=6))} {' '.join(words[:5])}",
        ]
    lines.append(base64.encodebytes(chance.randbytes(100_000)).decode())
    lines.append("data:image/png;base64," + base64.b64encode(chance.randbytes(100_000)).decode())

    assert found("\n".join(lines)) == [], SEED


@pytest.mark.parametrize(
    "hostile", ["eyJ", "sk-", "ghp_", "a.", "eyJa.", "0", "%3D", "[1m", "xoxb-1-", "/", "+"]
)
def test_no_text_takes_the_step_for_ever(hostile: str) -> None:
    """A pattern that backtracks without an end would run into the timeout of the suite."""
    for text in (
        hostile * 20_000,
        f" {hostile}" * 20_000,
        hostile + "a1B-" * 20_000,
        hostile + "a." * 20_000,
    ):
        found(text)
        found(text, CUT_START | CUT_END)
