"""Credentials whose form alone tells what they are: `ghp_` and 36 letters and digits, `AKIA` and 16 more.

The forms are the vendors' published ones: a prefix, an alphabet, a length. One scan finds the places where a
prefix begins a long word; only there the form of that prefix is tried.

Lives here: the table of forms, and `tokens`, the step of the chain that looks for them.
Not here: private keys, secrets known by the name beside them, the order of the steps (secrets.py). Standard
library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

from devtrace.policy.chain import CUT_END, CUT_START, Span
from devtrace.policy.names import looks_random
from devtrace.policy.words import plain_words

_LEAST = 18  # bytes of the shortest credential in the table
_LEAST_CUT = 8  # bytes beside the prefix of a credential whose end was not kept
_LEAST_TELLING = 4  # bytes of a prefix that is no beginning of a common word
_FAR = 4096  # bytes that are searched for one whose end was not kept
_ID = rb"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"
_64 = rb"[A-Za-z0-9+/]"
_URL = rb"[A-Za-z0-9_-]"
_BOTH_CASES = rb"(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])"

# (rule, prefixes, what follows the prefix). A group in what follows is the credential, if not all of it is.
Form = tuple[str, bytes, bytes]

# Forms that no other word has.
_STRICT: tuple[Form, ...] = (
    # clouds
    ("aws-access-key", b"AKIA ASIA ABIA ACCA", rb"[A-Z0-9]{16}"),
    (
        "aws-session-token",
        b"IQoJb3JpZ2lu FwoGZXIvYXdz FQoGZXIvYXdz",
        rb"(?:[A-Za-z0-9+/]|%2[BFbf]){90,}={0,2}",
    ),
    ("aws-bedrock-key", b"ABSK", _64 + rb"{100,280}={0,2}"),
    ("aws-mws-token", b"amzn.mws.", _ID),
    ("gcp-api-key", b"AIza", _URL + rb"{35}"),
    ("gcp-oauth-secret", b"GOCSPX-", _URL + rb"{28}"),
    ("gcp-oauth-token", b"ya29.", rb"(?:[a-z]\.)?[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]{20,})*"),
    ("gcp-refresh-token", b"1//0", _URL + rb"{40,}"),
    ("azure-account-key", b"AccountKey= accountKey=", rb"(" + _64 + rb"{86}==)"),
    ("azure-shared-key", b"SharedAccessKey= sharedAccessKey=", rb"(" + _64 + rb"{43}=)"),
    ("azure-sas", b"sig=", rb"((?:[A-Za-z0-9+/_-]|%2[BFbf]){43}(?:=|%3[Dd])?)"),
    ("digitalocean-token", b"dop_v1_ doo_v1_ dor_v1_", rb"[a-f0-9]{64}"),
    ("tencent-key-id", b"AKID", rb"[A-Za-z0-9]{32}"),
    ("yandex-token", b"AQVN y0_ t1.", rb"[A-Za-z0-9_-]{35,}(?:\.[A-Za-z0-9_-]{40,})?={0,2}"),
    ("cloudflare-token", b"cfk_ cfut_ cfat_", rb"[A-Za-z0-9]{40,60}"),
    ("cloudflare-origin-key", b"v1.0-", rb"[a-f0-9]{24}-[a-f0-9]{146}"),
    # forges
    ("github-token", b"ghp_ gho_ ghu_ ghr_", rb"[A-Za-z0-9]{36,251}"),
    ("github-token", b"ghs_", rb"[A-Za-z0-9_]{36,}(?:\.[A-Za-z0-9_-]{20,}){0,2}"),
    ("github-token", b"github_pat_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    (
        "gitlab-token",
        b"glpat- gldt- glrt- glrtr- glptt- glft- glimt- glagent- glsoat- glcbt- gloas- glffct- glwt-",
        rb"(?:t[0-9]_)?[A-Za-z0-9_-]{20,}(?:\.[a-z0-9]{2}\.[a-z0-9]{9}|\.[a-z0-9]{9})?",
    ),
    ("gitlab-token", b"GR1348941", _URL + rb"{20}"),
    ("bitbucket-token", b"ATBB", rb"[A-Za-z0-9]{32}"),
    ("atlassian-token", b"ATATT3 ATCTT3 ATSTT3", rb"[A-Za-z0-9_-]{60,}(?:=[A-Fa-f0-9]{8})?"),
    ("sourcegraph-token", b"sgp_", rb"(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}"),
    # builds and infrastructure
    ("circleci-token", b"CCIPAT_ CCIPRJ_", rb"[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    ("buildkite-token", b"bkua_ bkct_", rb"[A-Za-z0-9]{40}"),
    ("vault-token", b"hvs. hvb. hvr.", _URL + rb"{24,}"),
    ("doppler-token", b"dp.", rb"(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    ("pulumi-token", b"pul-", rb"[a-f0-9]{40}"),
    ("databricks-token", b"dapi dose dkea", rb"[a-f0-9]{32}(?:-[0-9])?"),
    ("fly-token", b"fo1_", _URL + rb"{43}"),
    ("fly-token", b"fm1r_ fm1a_ fm2_", rb"[A-Za-z0-9+/_-]{60,}={0,2}"),
    ("heroku-token", b"HRKU-", rb"(?:" + _ID + rb"|[A-Za-z0-9_-]{58,60})"),
    ("netlify-token", b"nfp_ nfc_ nfo_ nfu_ nfb_", rb"[A-Za-z0-9]{36}"),
    ("vercel-token", b"vercel_blob_rw_", rb"[A-Za-z0-9]{16}_[A-Za-z0-9]{30,}"),
    ("supabase-token", b"sbp_", rb"(?:v0_|oauth_)?[a-f0-9]{40}"),
    ("planetscale-token", b"pscale_tkn_ pscale_pw_ pscale_oauth_", rb"[A-Za-z0-9_.-]{31,63}[A-Za-z0-9_-]"),
    ("neon-token", b"napi_", rb"[a-z0-9]{60,64}"),
    ("cockroach-token", b"CCDB1_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{40}"),
    ("mongodb-atlas-secret", b"mdb_sa_sk_", _URL + rb"{40}"),
    ("aiven-password", b"AVNS_", _URL + rb"{19}"),
    ("grafana-token", b"glsa_", rb"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    ("grafana-token", b"glc_", rb"eyJ" + _64 + rb"{29,400}={0,2}"),
    ("newrelic-key", b"NRAK-", rb"[A-Z0-9]{27}"),
    ("newrelic-key", b"NRII- NRIQ-", _URL + rb"{32}"),
    ("newrelic-key", b"NRJS-", rb"[a-f0-9]{19}"),
    ("sentry-token", b"sntrys_", rb"eyJ[A-Za-z0-9+/=_-]{60,}"),
    ("sentry-token", b"sntryu_", rb"[a-f0-9]{64}"),
    ("dynatrace-token", b"dt0c01. dt0s01. dt0s16.", rb"[A-Z0-9-]{8,24}\.[A-Z0-9]{64}"),
    ("tailscale-key", b"tskey-", rb"(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{10,}-[A-Za-z0-9]{20,}"),
    ("prefect-token", b"pnu_ pnb_", rb"[A-Za-z0-9]{36}"),
    ("sonar-token", b"squ_ sqp_ sqa_", rb"[a-f0-9]{40}"),
    ("jfrog-token", b"AKCp", rb"[A-Za-z0-9]{64,}"),
    ("jfrog-token", b"cmVmdGtu", rb"[A-Za-z0-9]{56}"),
    ("age-key", b"AGE-SECRET-KEY-1", rb"[02-9AC-HJ-NP-Z]{58}"),
    ("1password-token", b"ops_", rb"eyJ[A-Za-z0-9+/_-]{100,}={0,2}"),
    # work
    ("linear-key", b"lin_api_ lin_oauth_ lin_wh_", rb"[A-Za-z0-9]{40,64}"),
    ("notion-token", b"ntn_", rb"[0-9]{11}[A-Za-z0-9]{35}"),
    ("airtable-token", b"pat", rb"[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    ("postman-key", b"PMAK-", rb"[a-f0-9]{24}-[a-f0-9]{34}"),
    ("figma-token", b"figd_ figo_ figu_", _URL + rb"{40,}"),
    ("hubspot-token", b"pat-", rb"[a-z]{2}[0-9]-" + _ID),
    ("contentful-token", b"CFPAT-", _URL + rb"{43}"),
    ("mapbox-token", b"sk.", rb"eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,}"),
    ("dropbox-token", b"sl.", rb"(?:u\.)?[A-Za-z0-9_-]{120,}"),
    # registries
    ("npm-token", b"npm_", rb"[A-Za-z0-9]{36}"),
    ("pypi-token", b"pypi-AgE", _URL + rb"{50,}"),
    ("rubygems-key", b"rubygems_", rb"[a-f0-9]{48}"),
    ("docker-token", b"dckr_pat_ dckr_oat_", _URL + rb"{27,32}"),
    ("clojars-token", b"CLOJARS_", rb"[a-z0-9]{60}"),
    # chat and mail
    ("slack-token", b"xoxb- xoxp- xoxa- xoxo- xoxs- xoxr- xoxc- xoxd-", rb"[A-Za-z0-9%+/-]{18,}={0,2}"),
    ("slack-token", b"xoxe. xoxe-", rb"(?:xox[bp]-)?[0-9]-[A-Za-z0-9-]{18,}"),
    ("slack-token", b"xapp-", rb"[0-9]-[A-Z0-9]+-[0-9]+-[A-Za-z0-9]{16,}"),
    (
        "slack-webhook",
        b"hooks.slack.com/",
        rb"(?:services|workflows|triggers)/([A-Z0-9]{6,}/[A-Z0-9]{6,}/[A-Za-z0-9/]{16,})",
    ),
    (
        "discord-webhook",
        b"discord.com/api/ discordapp.com/api/",
        rb"(?:v[0-9]{1,2}/)?webhooks/[0-9]{16,20}/([A-Za-z0-9_-]{60,80})",
    ),
    (
        "teams-webhook",
        b"webhook.office.com/ outlook.office.com/",
        rb"webhook(?:b2)?/("
        + _ID
        + b"@"
        + _ID
        + rb"/IncomingWebhook/[a-f0-9]{32}/"
        + _ID
        + rb"(?:/[A-Za-z0-9_-]+)?)",
    ),
    ("twilio-key", b"SK", rb"[a-f0-9]{32}"),
    ("twilio-key", b"AC", rb"[a-f0-9]{32}:([a-f0-9]{32})"),
    ("sendgrid-key", b"SG.", rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("brevo-key", b"xkeysib- xsmtpsib-", rb"[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("resend-key", b"re_", rb"[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    # payment
    ("square-token", b"sq0atp-", _URL + rb"{22}"),
    ("square-token", b"sq0csp-", _URL + rb"{43}"),
    ("shopify-token", b"shpat_ shpss_ shpca_ shppa_", rb"[A-Fa-f0-9]{32}"),
    ("braintree-token", b"access_token$", rb"(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    (
        "adyen-key",
        b"AQE",
        _64 + rb"{30,}={0,2}-" + _64 + rb"{43}=-[A-Za-z0-9!#$%(+/:;=?^_{~-]{11,23}[A-Za-z0-9]",
    ),
    ("plaid-token", b"access-sandbox- access-development- access-production-", _ID),
    ("shippo-token", b"shippo_live_ shippo_test_", rb"[a-f0-9]{40}"),
    # models
    ("anthropic-key", b"sk-ant-", _URL + rb"{32,}"),
    ("openai-key", b"sk-proj- sk-svcacct- sk-admin-", _URL + rb"{32,}"),
    ("openrouter-key", b"sk-or-", rb"(?:v1-)?[a-f0-9]{64}"),
    ("langfuse-key", b"sk-lf-", _ID),
    ("langsmith-key", b"lsv2_pt_ lsv2_sk_", rb"[a-f0-9]{32}_[a-f0-9]{10}"),
    ("huggingface-token", b"hf_ api_org_", rb"[A-Za-z0-9]{34,40}"),
    ("replicate-token", b"r8_", rb"[A-Za-z0-9]{37,40}"),
    ("groq-key", b"gsk_", rb"[A-Za-z0-9]{52}"),
    ("perplexity-key", b"pplx-", rb"[A-Za-z0-9]{48,56}"),
    ("xai-key", b"xai-", rb"[A-Za-z0-9]{80}"),
    ("nvidia-key", b"nvapi-", _URL + rb"{60,70}"),
    ("pinecone-key", b"pcsk_", rb"[A-Za-z0-9]{5,8}_[A-Za-z0-9]{50,70}"),
    ("together-key", b"tgp_v1_", _URL + rb"{43}"),
    ("e2b-key", b"e2b_", rb"[a-f0-9]{40}"),
    ("grafana-token", b"eyJrIjoi", _64 + rb"{60,}={0,2}"),
    ("cloudflare-tunnel", b"eyJhIjoi", _64 + rb"{100,}={0,2}"),
    # RFC 7519, section 3, and with encryption RFC 7516, section 3.1: three parts or five.
    ("jwt", b"eyJ", rb"[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{10,}){2}(?:\.[A-Za-z0-9_-]{10,}){0,2}={0,2}"),
    ("jwt", b"eyJ", rb"[A-Za-z0-9_-]{10,}\.(?:\.[A-Za-z0-9_-]{10,}){3}"),
)

# Forms that a name or a piece of base64 may have by chance: nothing may touch them; they look random.
_LOOSE: tuple[Form, ...] = (
    ("alibaba-key-id", b"LTAI", rb"[A-Za-z0-9]{12,26}"),
    ("scaleway-key-id", b"SCW", rb"[A-Z0-9]{17}"),
    ("vault-token", b"s.", _BOTH_CASES + rb"[A-Za-z0-9]{24}"),
    ("vault-token", b"b.AAAAAQ", _URL + rb"{60,}"),
    ("render-key", b"rnd_", rb"[A-Za-z0-9]{28,34}"),
    ("vercel-token", b"vcp_ vci_ vca_ vcr_ vck_", rb"[A-Za-z0-9]{24,60}"),
    ("supabase-token", b"sb_secret_", _URL + rb"{28,40}"),
    ("datadog-key", b"ddapp_ ddpat_", rb"[A-Za-z0-9_]{30,80}"),
    ("notion-token", b"secret_", rb"[A-Za-z0-9]{43}"),
    ("okta-token", b"00", _BOTH_CASES + _URL + rb"{40}"),
    ("cratesio-token", b"cio", _BOTH_CASES + rb"[A-Za-z0-9]{32}"),
    ("nuget-key", b"oy2", rb"[a-z0-9]{43}"),
    ("mailgun-key", b"key-", rb"[a-f0-9]{32}"),
    ("stripe-key", b"sk_live_ rk_live_ sk_test_ rk_test_", rb"[A-Za-z0-9]{16,}"),
    ("stripe-webhook-secret", b"whsec_", rb"[A-Za-z0-9+/]{32,}={0,2}"),
    ("square-token", b"EAAA", _URL + rb"{60}"),
    ("elevenlabs-key", b"sk_", rb"[a-f0-9]{48}"),
    ("openai-key", b"sk-", rb"(?:[A-Za-z0-9]{32,64}|[A-Za-z0-9_-]{16,}T3BlbkFJ[A-Za-z0-9_-]{16,})"),
    ("cerebras-key", b"csk-", rb"[a-z0-9]{48}"),
    ("tavily-key", b"tvly-", rb"(?:dev-|prod-)?[A-Za-z0-9-]{28,50}"),
    ("firecrawl-key", b"fc-", rb"[a-f0-9]{32}"),
    ("fireworks-key", b"fw_", rb"[A-Za-z0-9]{22,24}"),
)

_DISCORD_BEGINS = (b"M", b"N", b"O")
_DISCORD = rb"[MNO][DTjz][AEIMQUYcgk][wxyz0-5]"  # the digits of an id in base64
# Forms without a prefix: (rule, how they begin, what follows).
_SHAPED: tuple[Form, ...] = (
    ("telegram-token", rb"[0-9]{8,10}:AA", _URL + rb"{33}"),
    (
        "discord-token",
        _DISCORD,
        _URL + rb"{20,24}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
    ),
    ("mailchimp-key", rb"[0-9a-f]{32}-us", rb"[0-9]{1,2}"),
    ("mailgun-key", rb"[0-9a-f]{32}-[0-9a-f]", rb"[0-9a-f]{7}-[0-9a-f]{8}"),
)

# How those are found: (a sign within, what stands before it, of so many bytes at most); and for one, what
# stands behind its first 32 bytes.
_SIGNS = ((b":AA", rb"[0-9]{8,10}\Z", 10), (b"-us", rb"[0-9a-f]{32}\Z", 32))
_TWO_MORE = rb"-[0-9a-f]{8}-[0-9a-f]{8}(?![A-Za-z0-9_-])"
_KEY_BEFORE = 32

# Forms that are told by what stands within them: (rule, that, the whole, how far it begins before that).
_MIDDLES: tuple[tuple[str, bytes, bytes, int], ...] = (
    ("azure-ad-secret", b"Q~", rb"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", 4),
    ("azure-devops-token", b"AZDO", rb"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}", 76),
    ("azure-key", b"JQQJ99", rb"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}", 52),
    ("terraform-token", b".atlasv1.", rb"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", 14),
    ("newrelic-key", b"NRAL", rb"[a-zA-Z0-9]{36}NRAL", 36),
)

RULE_IDS = frozenset(form[0] for forms in (_STRICT, _LOOSE, _SHAPED, _MIDDLES) for form in forms)

# What may stand before a credential though it ends in a letter or a digit: `\n`, `%3D`, `\u0026`, `[32m`.
_ESCAPE = (
    rb"(?:(?<=\\)(?:[nrtbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})|(?<=%)[0-9A-Fa-f]{2}|(?<=[\[;])[0-9]{1,3}m)?"
)
_BEHIND_AN_ESCAPE = rb"(?:\\(?:[nrtbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})|%[0-9A-Fa-f]{2}|[\[;][0-9]{1,3}m)\Z"
_BEGINS_A_WORD = rb"(?:(?<![A-Za-z0-9_~])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=[0-9]m))"
_UNCUT = rb"(?<![A-Za-z0-9_])" + _ESCAPE
_NO_WORD_AFTER = rb"(?![A-Za-z0-9_])"
_NOTHING_BEFORE = rb"(?<![^\n][+.-])(?<![A-Za-z0-9+]/)"  # but the sign of a diff
_NOTHING_AFTER = rb"(?![A-Za-z0-9_+/-]|=[A-Za-z0-9])"
# Base64 of zeros is a run of `A` in credentials that are none of a person's writing.
_MADE_UP = (
    rb"(?i:example|your[_-]|placeholder|changeme|redacted)|x{6}|X{6}|([B-Za-z0-9])\1{7}"
    rb"|\A[A-Za-z]?[a-z]+[0-9]{0,2}(?:[._-][A-Za-z]?[a-z]+)+\Z"
)
_LEAST_DIFFERENT = 5  # characters in a credential: with fewer it stands for one
_JUDGED = 64  # bytes of a credential that are looked at for a placeholder: more may hold any word by chance
_ALNUM = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_WORD_BYTES = frozenset(_ALNUM + b"_")
_SHORT = 2  # bytes of a prefix that says next to nothing
_RUN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$=:+/%~-"
# The end of a credential of several parts, and one too long for a word: what only a credential ends with.
_TAIL = (
    rb"(?:(?:[A-Za-z0-9_-]{0,4096}\.){1,2}[A-Za-z0-9_-]{27,4096}|[A-Za-z0-9_-]{72,4096})(?![A-Za-z0-9_./+-])"
)


def tokens(text: bytes, edges: int, words: set[bytes] | None = None) -> Iterable[Span]:
    """The credentials in the text, each from its first byte to its last; placeholders are none.

    `words`: all that stand in the text, if somebody has them already. Beside a cut, a credential is found by
    its prefix and eight bytes, or by how only a credential ends.
    """
    if len(text) < _LEAST and not edges:
        return ()
    return _found(text, edges, plain_words(text) if words is None else words)


def beginnings() -> tuple[bytes, ...]:
    """Patterns of which one fits where a credential, and a word, begins; of the others see `middles`."""
    prefixes = {prefix for form in (*_STRICT, *_LOOSE) for prefix in form[1].split()}
    return (*map(re.escape, sorted(prefixes)), *(begins for _, begins, _ in _SHAPED))


def middles() -> tuple[bytes, ...]:
    """What stands within the credentials of the other forms."""
    return tuple(middle for _, middle, _, _ in _MIDDLES)


def forms() -> Iterator[tuple[str, bytes]]:
    """(rule, the pattern of the whole) for each form and each of its prefixes."""
    for rule, begins, rest in (*_STRICT, *_LOOSE):
        yield from ((rule, re.escape(prefix) + rest) for prefix in begins.split())
    yield from ((rule, begins + rest) for rule, begins, rest in _SHAPED)
    yield from ((rule, whole) for rule, _, whole, _ in _MIDDLES)


def _found(text: bytes, edges: int, words: set[bytes]) -> Iterator[Span]:
    until = 0
    places = [*_places(text, words), *_shaped_places(text, words)]
    for at, beginning in sorted(set(places)) if places else ():
        if at >= until and (span := _whole(text, at, beginning)):
            until = span[1]
            yield span
    for form in _MIDDLES:
        if form[1] in text:
            yield from _around(text, *form)
    if edges & CUT_END:
        yield from _before_the_cut(text)
    if edges & CUT_START and (tail := _compiled(_TAIL).match(text)) and _is_mixed(tail[0]):
        yield 0, tail.end(), "cut-value", None


def _places(text: bytes, words: set[bytes]) -> Iterator[tuple[int, bytes]]:
    """(place, prefix) where a credential may begin that has one."""
    first, glued = _by_first_word()
    present = [first[word] for word in words & first.keys()]
    present += [glued[begins] for begins in {word[:3] for word in words} & glued.keys()]
    if not present:
        return
    has_escapes = b"\\" in text or b"%" in text or b"[[" in text
    for prefix in {prefix for prefixes in present for prefix in prefixes}:
        at = text.find(prefix)
        while at >= 0:
            if at == 0 or text[at - 1] not in _WORD_BYTES or (has_escapes and _begins_a_word(text, at)):
                yield at, prefix
            at = text.find(prefix, at + 1)


def _shaped_places(text: bytes, words: set[bytes]) -> Iterator[tuple[int, bytes]]:
    """The same for those without a prefix, as (place, b"")."""
    starts: list[int] = []
    for sign, before, size in _SIGNS:
        at = text.find(sign)
        while at >= 0:
            hit = _compiled(before).search(text[max(0, at - size) : at])
            starts += [max(0, at - size) + hit.start()] if hit else []
            at = text.find(sign, at + 1)
    long = [word for word in words if len(word) >= _LEAST]
    if not starts and not long:
        return
    if any(len(word) == _KEY_BEFORE for word in long):
        starts += [hit.start() - _KEY_BEFORE for hit in _compiled(_TWO_MORE).finditer(text)]
    if any(word[:1] in _DISCORD_BEGINS and _compiled(_DISCORD).match(word) for word in long):
        starts += [hit.start() for hit in _compiled(_DISCORD).finditer(text)]
    yield from ((at, b"") for at in starts if at >= 0 and _begins_a_word(text, at))


def _begins_a_word(text: bytes, at: int) -> bool:
    """Whether no letter or digit stands before, but one of an escape."""
    if at == 0 or text[at - 1] not in _WORD_BYTES:
        return True
    return _compiled(_BEHIND_AN_ESCAPE).search(text[max(0, at - 7) : at]) is not None


def _whole(text: bytes, at: int, beginning: bytes) -> Span | None:
    """The credential that begins at `at` with this prefix."""
    for rule, pattern, is_loose in _forms(beginning):
        match = _compiled(pattern).match(text, at)
        if match and _is_real(match[0][len(beginning) :], is_loose):
            return *match.span(match.lastindex or 0), rule, None
    return None


def _around(text: bytes, rule: str, middle: bytes, whole: bytes, before: int) -> Iterator[Span]:
    """The credentials that begin `before` bytes before what tells them."""
    form = _compiled(_BEGINS_A_WORD + whole + _NO_WORD_AFTER)
    at = text.find(middle)
    while at >= 0:
        match = form.match(text, at - before) if at >= before else None
        if match and _is_real(match[0], True):
            yield *match.span(), rule, None
        at = text.find(middle, at + 1)


def _before_the_cut(text: bytes) -> Iterator[Span]:
    """A credential of which the end was not kept: its prefix, and what goes on to the end of the text."""
    least = max(0, len(text) - _FAR)
    word = least + len(text[least:].rstrip(_RUN_BYTES))
    plain, wide = _beginnings()
    for hit in _compiled(_UNCUT + rb"(?P<begins>" + plain + rb"|" + wide + rb")").finditer(text, word):
        beginning, rest = hit[2] or hit[3] or b"", text[hit.end() :]
        rule, _, is_loose = _forms(beginning)[0]
        is_loose = is_loose or len(beginning) < _LEAST_TELLING
        is_path = is_loose and b"/" in rest and beginning.islower()
        if len(rest) >= _LEAST_CUT and not is_path and _is_real(rest, is_loose):
            yield hit.start("begins"), len(text), rule, None
            return


def _is_real(body: bytes, is_loose: bool) -> bool:
    """Whether what follows the prefix is no placeholder: `xxxxxxxx`, `...7EXAMPLE`, `your-token-here`."""
    if is_loose and not looks_random(body, _LEAST_CUT):
        return False
    return len(set(body)) >= _LEAST_DIFFERENT and not _compiled(_MADE_UP).search(body[:_JUDGED])


def _is_mixed(body: bytes) -> bool:
    return looks_random(body, _LEAST_CUT) and body.lower() != body != body.upper()


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern, compiled when a text first asks for it; there are more of them than names.compiled keeps."""
    return re.compile(pattern)


@cache
def _by_first_word() -> tuple[dict[bytes, list[bytes]], dict[bytes, list[bytes]]]:
    """The prefixes by their first word; and those that end within it, by its first three bytes."""
    first: dict[bytes, list[bytes]] = {}
    glued: dict[bytes, list[bytes]] = {}
    for prefix in {prefix for form in (*_STRICT, *_LOOSE) for prefix in form[1].split()}:
        word = prefix[: len(prefix) - len(prefix.lstrip(_ALNUM))]
        if word != prefix:
            first.setdefault(word, []).append(prefix)
        elif len(prefix) > _SHORT:
            glued.setdefault(prefix[:3], []).append(prefix)
        else:
            for byte in _ALNUM:
                glued.setdefault(prefix + bytes((byte,)), []).append(prefix)
            first.setdefault(prefix, []).extend((prefix + b"-", prefix + b"_"))
    return first, glued


@cache
def _beginnings() -> tuple[bytes, bytes]:
    """The prefixes as a group, or how else they begin: credentials that begin as a long word, and others."""
    wide = {
        prefix
        for _, prefixes, rest in (*_STRICT, *_LOOSE)
        for prefix in prefixes.split()
        if _compiled(_URL + rb"+").fullmatch(prefix) is None or b"+" in rest[:24] or b"%" in rest[:24]
    }
    plain = {prefix for form in (*_STRICT, *_LOOSE) for prefix in form[1].split()} - wide
    shapes = [begins for _, begins, _ in _SHAPED]
    return (
        rb"|".join([_one_of(plain), *(shape for shape in shapes if b":" not in shape)]),
        rb"|".join([_one_of(wide), *(shape for shape in shapes if b":" in shape)]),
    )


def _one_of(prefixes: Iterable[bytes]) -> bytes:
    """A group by their first byte, the longest first."""
    branches = []
    for first, family in groupby(sorted(prefixes), key=lambda prefix: prefix[:1]):
        rests = sorted((re.escape(prefix[1:]) for prefix in family), key=len, reverse=True)
        branches.append(re.escape(first) + rb"(?:" + rb"|".join(rests) + rb")")
    return rb"(" + rb"|".join(branches) + rb")"


@cache
def _forms(beginning: bytes) -> list[tuple[str, bytes, bool]]:
    """(rule, pattern, is loose) of what may begin so, the longest prefix first; never empty."""
    found = []
    for forms, is_loose in ((_STRICT, False), (_LOOSE, True)):
        before = _NOTHING_BEFORE if is_loose else b""
        after = _NOTHING_AFTER if is_loose else _NO_WORD_AFTER
        for rule, prefixes, rest in forms:
            for prefix in prefixes.split():
                if beginning.startswith(prefix):
                    pattern = before + re.escape(prefix) + rb"(?:" + rest + rb")" + after
                    found.append((len(prefix), rule, pattern, is_loose))
    found.sort(key=lambda form: -form[0])
    shaped = [(rule, begins + rest + _NO_WORD_AFTER, False) for rule, begins, rest in _SHAPED]
    return [*(form[1:] for form in found), *shaped]
