import pytest

from stepwell.repos.pktline import FLUSH, LONGEST, advertisement, encode


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
