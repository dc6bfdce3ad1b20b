import asyncio

import pytest

from stepwell.repos.pktline import FLUSH, LONGEST, advertisement, are_more, encode, packets


def test_length_counts_itself() -> None:
    assert encode(b"") == b"0004"
    assert encode(b"hello\n") == b"000ahello\n"
    assert encode(b"x" * LONGEST).startswith(b"fff0")


def test_packet_longer_than_the_format_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="65516"):
        encode(b"x" * (LONGEST + 1))


def test_advertisement_of_version_2_has_no_heading() -> None:
    refs = encode(b"version 2\n") + FLUSH
    assert advertisement("git-upload-pack", refs) == refs


def test_advertisement_of_older_versions_names_the_service() -> None:
    assert advertisement("git-receive-pack", b"0000") == b"001f# service=git-receive-pack\n0000" + b"0000"


@pytest.mark.parametrize(
    ("beginning", "said"),
    [
        (b"", None),
        (b"00", None),
        (encode(b"one") + encode(b"two"), None),
        (encode(b"one") + encode(b"two") + b"0009thr", True),
        (encode(b"one") + encode(b"two") + FLUSH + encode(b"three"), False),
        (FLUSH + b"PACK", False),
        (b"nonsense", False),
        (encode(b"one") + b" 123", False),
        (b"0001" + encode(b"one"), False),
    ],
)
def test_a_beginning_tells_whether_there_are_more_than_two_packets(beginning: bytes, said: bool | None) -> None:
    assert are_more(beginning, 2) is said


async def test_packets_are_read_up_to_the_flush() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(encode(b"one\0more") + encode(b"") + FLUSH + encode(b"next") + b"0")
    reader.feed_eof()
    assert await packets(reader) == [b"one\0more", b""]
    with pytest.raises(asyncio.IncompleteReadError):
        await packets(reader)
