"""Masks, however the output is cut."""

import base64
import itertools
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.store.masks import STARS, Masker, forms, masks_of

KEY = "-----BEGIN KEY-----\nabcdefgh12345678\nijklmnop\n-----END KEY-----\n"


def masked(secrets: Iterable[str], *chunks: bytes) -> bytes:
    masker = Masker(masks_of(secrets))
    return b"".join(map(masker.feed, chunks)) + masker.finish()


def reference(masks: Iterable[bytes], data: bytes) -> bytes:
    covered = [False] * len(data)
    for mask in masks:
        for at in range(len(data) - len(mask) + 1):
            if data.startswith(mask, at):
                covered[at : at + len(mask)] = [True] * len(mask)
    out, inside = bytearray(), False
    for byte, hidden in zip(data, covered, strict=True):
        if hidden and not inside:
            out += STARS
        elif not hidden:
            out.append(byte)
        inside = hidden
    return bytes(out)


@given(st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=3), st.lists(st.text("abc", max_size=6)))
def test_every_occurrence_is_masked_wherever_the_output_is_cut(secrets: list[str], chunks: list[str]) -> None:
    whole = "".join(chunks).encode()
    assert masked(secrets, *(chunk.encode() for chunk in chunks)) == reference(masks_of(secrets), whole)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_output_without_a_secret_is_unchanged(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(places)]
    assert masked(["correct horse battery"], *chunks) == data


@pytest.mark.parametrize(
    "shown",
    [
        "s3cret/word+1",
        quote("s3cret/word+1", safe=""),
        quote_plus("s3cret/word+1"),
        json.dumps("s3cret/word+1")[1:-1],
        base64.b64encode(b"s3cret/word+1").decode().rstrip("="),
    ],
)
def test_every_spelling_is_masked(shown: str) -> None:
    assert shown.encode() not in masked(["s3cret/word+1"], f"before {shown} after".encode())


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
def test_base64_of_a_text_around_the_secret_tells_nothing_of_it(before: str) -> None:
    encoded = base64.b64encode(f"{before}hunter22-hunter33 and more".encode())
    left = masked(["hunter22-hunter33"], encoded)
    assert STARS in left
    assert len(left) < len(encoded) - 16


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    assert masked([KEY], b"x abcdefgh12345678 y\nijklmnop\n") == b"x *** y\n***\n"


def test_values_of_three_bytes_are_not_masked() -> None:
    assert forms("abc") == set()
    assert masked(["abc"], b"abc") == b"abc"


def test_only_the_possible_beginning_of_a_secret_is_held_back() -> None:
    masker = Masker(masks_of(["hunter22"]))
    assert masker.feed(b"hello hunt") == b"hello "
    assert masker.holding
    assert masker.feed(b"ing") == b"hunting"
    assert not masker.holding


def test_a_text_on_its_own_does_not_disturb_the_stream() -> None:
    masker = Masker(masks_of(["hunter22"]))
    masker.feed(b"hunt")
    assert masker.clean(b"a hunter22 b") == b"a *** b"
    assert masker.feed(b"er22!") == b"***!"
