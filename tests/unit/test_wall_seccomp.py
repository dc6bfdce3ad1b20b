"""The rules that a BPF program is made of."""

import random

from stepwell_runners import seccomp


def _matches(word: int, excluded: tuple[int, ...]) -> int:
    return sum(word & mask == value for mask, value in seccomp._all_but(excluded))


def test_all_but_matches_every_word_except_the_excluded_ones_exactly_once() -> None:
    excluded = (0x5412, 0x541C)
    words = [0, 1, 0x5411, 0x5413, 0x541B, 0x541D, 0xFFFFFFFF, *(random.Random(1).getrandbits(32) for _ in range(2000))]
    assert all(_matches(word, excluded) == 1 for word in words)
    assert [_matches(word, excluded) for word in excluded] == [0, 0]


def test_all_but_ignores_the_upper_half_that_the_kernel_ignores_too() -> None:
    assert _matches(0x1_0000_5412, (0x5412,)) == 0


def test_program_is_made_of_whole_instructions() -> None:
    early, late = seccomp.programs()
    assert len(early) % 8 == len(late) % 8 == 0
    assert 100 < len(early) // 8 < 4096
    assert len(late) // 8 < 30  # somebody waits while it is loaded
