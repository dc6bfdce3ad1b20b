"""Texts packed for the disk come back as they were, and packed texts of today are read for ever."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.store.packed import pack, unpack

APPROVAL = (
    '{"kind":"approval","name":"Ship it?","fingerprint":"74f95046","options":{"message":"Ship it?","environment":'
    '"production","timeout":604800.0},"base":[],"due":1795602860.446657,"where":".stepwell/pipeline.py:12","held":false}'
)
KEPT = {
    1: bytes.fromhex(
        "01c3e3d0e08ccc0285cc127b0c079b9ba4599a1a9898e172389246ca3c60686e696a6660646166a067626266666a4ec837864668f50900"
    ),
    2: bytes.fromhex(
        "02c3e3cce08ccc0285cc127b0ce79a9ba4599a1a9898e1723692464a9d6f696a6660646166a067626266664ad037864668a51900"
    ),
}
"""The same as packed by each dictionary; what is on disks looks like this."""


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=600) | st.text(max_size=600))
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert unpack(pack(text)) == text


def test_large_texts_come_back_too() -> None:
    text = json.dumps([{"number": number, "text": "ä" * (number % 50)} for number in range(20_000)])
    packed = pack(text)
    assert len(packed) < len(text) / 5
    assert unpack(packed) == text


def test_an_approval_takes_less_than_a_quarter() -> None:
    assert len(pack(APPROVAL)) < len(APPROVAL) / 4


def test_short_texts_stay_readable() -> None:
    assert (pack("null"), pack('{"event":17}')) == ("null", '{"event":17}')
    noise = "".join(chr(33 + zlib.crc32(number.to_bytes(2, "big")) % 90) for number in range(300))
    assert unpack(pack(noise)) == noise


def test_what_was_packed_once_is_read_for_ever() -> None:
    assert [unpack(kept) for kept in KEPT.values()] == [APPROVAL, APPROVAL]
    assert pack(APPROVAL)[0] == max(KEPT), "a dictionary that packs has an example here"
    assert unpack(APPROVAL) == APPROVAL, "files of the first form hold plain texts"


@pytest.mark.parametrize("kept", [b"", b"\x7fabc", b"\x01\xff\xff\xff", KEPT[1][:-3], KEPT[2][:-3]])
def test_bytes_of_strangers_are_refused(kept: bytes) -> None:
    with pytest.raises(ValueError, match=r"packed in a way|end is missing"):
        unpack(kept)
