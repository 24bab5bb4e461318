"""What is kept of texts: no secret, not too much, and every other byte as it passed."""

from __future__ import annotations

import base64
import json
import random

import pytest

from devtrace.policy.chain import Policy
from devtrace.services.mcp_proxy.texts import Texts, media_in

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
KNOWN = "correct-horse-battery-staple-9"
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7bq0Y\n" * 60 + "-----END RSA PRIVATE KEY-----"
ODD = '{"huge":18446744073709551617, "beyond":-1e400,"one":1.0,"a":1,"a":2,"nan":NaN,"esc":"\\u00e9\\/"}'


@pytest.fixture
def texts() -> Texts:
    return Texts(Policy.for_session({"SERVICE_PASSWORD": KNOWN}, b"salt"))


# --- JSON ---------------------------------------------------------------------------------------------------


def test_json_without_a_secret_stays_byte_for_byte(texts: Texts) -> None:
    assert texts.json(ODD, 10_000) == (ODD, 0)


def test_a_secret_is_masked_and_everything_else_stays_byte_for_byte(texts: Texts) -> None:
    kept = texts.json('{"n": 1.50,"t":"' + TOKEN + '","odd":' + ODD + "}", 10_000)

    assert kept.text.startswith('{"n": 1.50,"t":"[redacted:github-token:')
    assert kept.text.endswith('"odd":' + ODD + "}")
    assert kept.size == 0


@pytest.mark.parametrize(
    "value",
    [
        {"text": f"line one\nexport API_TOKEN={TOKEN}\n"},
        {"text": f"say \"{TOKEN}\""},
        {"key": KEY},
        {"password": "hunter22222"},
        {"deep": [[{"a": {"b": f"curl -u ana:{KNOWN} https://example.com"}}]]},
        {TOKEN: 1},
        {"uni": "é" * 50 + KNOWN + "\u2028"},
        {"nested": json.dumps({"token": TOKEN})},
        [TOKEN],
        TOKEN,
    ],
    ids=["line", "quotes", "key", "by-name", "deep", "name", "unicode", "json-in-json", "array", "text"],
)  # fmt: skip
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_secret_is_found_however_json_writes_it(texts: Texts, value: object, is_ascii: bool) -> None:
    kept = texts.json(json.dumps(value, ensure_ascii=is_ascii), 10_000)

    for secret in (TOKEN, KNOWN, "MIIEowIBAAKC", "hunter22222"):
        assert secret not in kept.text
    json.loads(kept.text)


def test_a_long_text_in_json_loses_its_middle_and_json_stays_json(texts: Texts) -> None:
    long = "".join(f"line {number}\n" for number in range(100_000))
    text = json.dumps(
        {"content": [{"type": "text", "text": long}, {"type": "text", "text": "short"}], "n": 1.0}
    )

    kept = texts.json(text, 64_000)

    assert kept.size == len(text)
    assert len(kept.text) <= 64_000
    value = json.loads(kept.text)
    first, second = (block["text"] for block in value["content"])
    assert first.startswith("line 0\nline 1\n")
    assert first.endswith("line 99999\n")
    assert "bytes were not kept" in first
    assert (second, value["n"]) == ("short", 1.0)


@pytest.mark.parametrize("longest", [5_000, 20_000, 60_000])
@pytest.mark.parametrize(
    "text",
    ["\n" * 40_000, '"' * 40_000, "\x01" * 40_000, "é\n" * 20_000, "a" * 40_000 + "\n" * 9],
    ids=["line ends", "quotes", "controls", "unicode", "plain"],
)
def test_what_json_writes_longer_is_short_enough_as_json(texts: Texts, text: str, longest: int) -> None:
    kept = texts.json(json.dumps({"text": text}, ensure_ascii=False), longest)

    assert len(kept.text.encode()) <= longest + 200
    assert len(kept.text.encode()) > longest // 2 or kept.size == 0
    json.loads(kept.text)


def test_long_texts_share_what_the_short_ones_leave(texts: Texts) -> None:
    value = {"a": "a" * 300_000, "b": "b" * 20_000, "c": "c" * 300_000, "d": ["d"] * 100}

    kept = json.loads(texts.json(json.dumps(value), 100_000).text)

    assert kept["b"] == value["b"]
    assert kept["d"] == value["d"]
    assert 35_000 < len(kept["a"]) < 45_000
    assert abs(len(kept["a"]) - len(kept["c"])) < 10


def test_of_very_many_short_texts_the_beginning_and_the_end_are_kept(texts: Texts) -> None:
    rows = [{"id": number, "name": f"name {number}"} for number in range(50_000)]
    value = [row | {"password": f"pass-word-{row['id']}"} if row["id"] % 40 == 0 else row for row in rows]
    text = json.dumps(value)

    kept = texts.json(text, 50_000)

    assert kept.size == len(text)
    assert 40_000 < len(kept.text) < 55_000
    assert kept.text.startswith('[{"id": 0, "name": "name 0"')
    assert "bytes were not kept" in kept.text
    assert "pass-word-" not in kept.text  # also where its name would have been cut off


def test_no_value_is_left_whose_name_was_cut_off(texts: Texts) -> None:
    """A plain word is a secret by its name alone."""
    text = json.dumps([{"password": f"kestrel{number:05d}b"} for number in range(2_000)])

    for longest in range(9_000, 9_040, 2):
        assert "kestrel" not in texts.json(text, longest).text


@pytest.mark.parametrize("at", [0.0, 0.3, 0.64, 0.66, 0.67, 0.68, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("secret", [TOKEN, KNOWN, KEY], ids=["token", "known", "key"])
def test_no_half_of_a_secret_is_left_at_a_cut(texts: Texts, secret: str, at: float) -> None:
    """It is put at every place around both cuts."""
    longest, whole = 3_000, 40_000
    filler = "word " * (whole // 5)
    pieces = [secret[start : start + 12] for start in range(0, len(secret) - 12, 7)]
    for shift in range(-len(secret) - 20, len(secret) + 20, 23):
        place = (
            int(longest * at) if at < 0.9 else len(filler) - int(longest * (1 - at)) - longest // 3
        ) + shift
        place = max(0, min(len(filler), place))
        text = f"{filler[:place]} {secret} {filler[place:]}"

        plain = texts.text(text, longest).text
        in_json = texts.json(json.dumps({"text": text}), longest).text

        for kept in (plain, in_json):
            assert len(kept) < longest + 500
            assert not [piece for piece in pieces if json.dumps(piece)[1:-1] in kept or piece in kept]


def test_what_nests_without_end_and_is_no_json_is_redacted_all_the_same(texts: Texts) -> None:
    kept = texts.json("[" * 50_000 + f'"{TOKEN}"', 100_000)

    assert TOKEN not in kept.text


def test_json_that_is_no_utf8_keeps_its_bytes(texts: Texts) -> None:
    text = b'{"a":"\xff\xfe","t":"%s"}' % TOKEN.encode()
    kept = texts.json(text.decode("utf-8", "surrogateescape"), 10_000).text

    assert kept.encode("utf-8", "surrogateescape").startswith(b'{"a":"\xff\xfe","t":"[redacted:')


def test_the_size_of_what_is_cut_is_told_in_bytes(texts: Texts) -> None:
    text = json.dumps({"a": "é" * 10_000}, ensure_ascii=False)
    kept = texts.json(text, 5_000)

    assert kept.size == len(text.encode())
    assert len(kept.text.encode()) <= 5_000
    assert "\ufffd" not in kept.text
    json.loads(kept.text)


# --- images and sounds --------------------------------------------------------------------------------------

BYTES = random.Random(1).randbytes(30_000)
ENCODED = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({"type": "image", "mimeType": "image/png", "data": ENCODED}, "data"),
        ({"type": "audio", "data": ENCODED, "mimeType": "image/png"}, "data"),
        ({"uri": "x", "mimeType": "image/png", "blob": ENCODED}, "blob"),
    ],
    ids=["image", "audio", "blob"],
)
@pytest.mark.parametrize("longest", [100_000, 10_000, 2_000])
def test_bytes_of_an_image_are_left_out_and_counted(
    texts: Texts, block: dict[str, str], name: str, longest: int
) -> None:
    value = {"content": [{"type": "text", "text": "see"}, {"resource": block, **block}]}
    text = json.dumps(value)

    kept = texts.json(text, longest, media_in(text, value))

    told = json.loads(kept.text)["content"][1]
    assert told[name] == told["resource"][name] == "[... 30,000 bytes of image/png were not kept ...]"
    assert told["mimeType"] == "image/png"
    assert kept.size == len(text)


@pytest.mark.parametrize(
    "value",
    [
        {"mimeType": "text/plain", "data": "not base64 at all, " * 100},
        {"mimeType": "image/png", "data": ENCODED[:1_000]},
        {"data": ENCODED},
        {"mimeType": "image/png", "text": ENCODED},
        {"mimeType": "image/png", "data": 5},
    ],
    ids=["a text", "short", "no type", "no data", "a number"],
)
def test_what_is_no_image_is_kept(texts: Texts, value: object) -> None:
    text = json.dumps(value)

    assert media_in(text, value) == {}
    assert texts.json(text, 100_000, {}) == (text, 0)


# --- texts for people ---------------------------------------------------------------------------------------


def test_a_short_text_is_redacted(texts: Texts) -> None:
    assert texts.text("all is well", 1_000) == ("all is well", 0)
    assert KNOWN not in texts.text(f"the password is {KNOWN}", 1_000).text


def test_of_something_of_which_only_the_beginning_came_the_size_is_told(texts: Texts) -> None:
    begun = '{"text":"' + "x" * 30_000 + f" {TOKEN}"

    kept = texts.beginning(begun, 20_000_000, 10_000)

    assert kept.size == 20_000_000
    assert kept.text.startswith('{"text":"xxx')
    assert kept.text.endswith("\n[... 19,990,000 bytes were not kept ...]\n")


@pytest.mark.parametrize("place", range(0, 41, 4))
def test_of_a_beginning_no_half_of_a_secret_is_left(texts: Texts, place: int) -> None:
    begun = ("word " * 4_000)[: 10_000 - place] + TOKEN

    kept = texts.beginning(begun, 20_000_000, 10_000).text

    assert TOKEN[:12] not in kept


def test_values_are_redacted_with_their_names(texts: Texts) -> None:
    told = texts.values({"a": [TOKEN, 1, None, {KNOWN: True}]})

    assert TOKEN not in str(told)
    assert KNOWN not in str(told)
    assert told["a"][1:3] == [1, None]
