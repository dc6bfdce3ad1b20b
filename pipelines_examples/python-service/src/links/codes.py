"""Numbers as short codes and back."""

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without those that look alike


def encode(number: int) -> str:
    """Write a number that is not negative as a code."""
    code = ""
    while True:
        number, digit = divmod(number, len(ALPHABET))
        code = ALPHABET[digit] + code
        if number == 0:
            return code


def decode(code: str) -> int:
    """Read a code. Raises ValueError for a character that no code has."""
    number = 0
    for character in code:
        number = number * len(ALPHABET) + ALPHABET.index(character)
    return number
