import pytest

from links.codes import decode, encode


@pytest.mark.parametrize("number", [0, 1, 30, 31, 960, 961, 10**12])
def test_code_leads_back_to_its_number(number: int) -> None:
    assert decode(encode(number)) == number


def test_codes_are_short() -> None:
    assert len(encode(900_000)) == 4


def test_unknown_character_is_refused() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        decode("0")
