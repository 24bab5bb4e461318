"""Bodies of HTTP by their Content-Encoding: read as they come, bounded, and said so where they cannot be."""

from __future__ import annotations

import gzip
import zlib

import pytest

from devtrace.sources.mcp.bodies import Reader, Unreadable, reader

TEXT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}' * 2_000


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def read(read: Reader, data: bytes, size: int) -> bytes:
    return b"".join(piece for at in range(0, len(data), size) for piece in read(data[at : at + size]))


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("X-GZIP", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare(TEXT)),
        ("gzip, identity", gzip.compress(TEXT, mtime=0) + b"what stands behind it"),
    ],
    ids=["none", "identity", "gzip", "x-gzip", "deflate", "bare", "more-behind"],
)
def test_a_body_is_read_in_any_pieces(encoding: str, data: bytes, size: int) -> None:
    assert read(reader(encoding), data, size) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "deflate, gzip"])
def test_what_cannot_be_read_says_so_at_once(encoding: str) -> None:
    with pytest.raises(Unreadable, match=f"content-encoding {encoding}"):
        reader(encoding)


def test_a_broken_body_says_so() -> None:
    with pytest.raises(Unreadable, match="broken"):
        read(reader("gzip"), b"this is no gzip at all", 100)


def test_what_came_before_it_broke_was_told() -> None:
    whole = gzip.compress(TEXT, mtime=0)
    told = reader("gzip")

    assert b"".join(told(whole[:-8])) == TEXT
    with pytest.raises(Unreadable):
        list(told(bytes(8)))  # where its checksum should stand


def test_a_body_that_is_made_to_fill_the_memory_is_given_up() -> None:
    bomb = zlib.compress(b"\0" * (48 << 20), 9)

    sizes: list[int] = []
    with pytest.raises(Unreadable, match="without bounds"):
        sizes.extend(map(len, reader("deflate")(bomb)))
    assert max(sizes) <= 1 << 18
