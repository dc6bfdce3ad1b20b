"""The rules that a BPF program is made of."""

import errno
import platform
import random
import struct

import pytest

from stepwell_runners import seccomp

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
UNTIL_SEALED = (
    *("clone3", "mount", "move_mount", "unshare"),
    *("sethostname", "fsopen", "fsconfig", "fsmount", "open_tree", "mount_setattr"),
)
SET_DEATH_SIGNAL = 1


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


def answer(program: bytes, number: int, *arguments: int) -> int:
    """What the kernel does about a call: the few instructions that libseccomp writes, played."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, ARCHITECTURE[platform.machine()], 0, *words)
    at = accumulator = 0
    while True:
        code, true, false, k = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        if code == 0x20:  # load a word
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return int(k)
        else:
            compared = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: accumulator & k}
            at += true if compared[code] else false


def number_of(name: str) -> int:
    pyseccomp = pytest.importorskip("pyseccomp")
    return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name))


@pytest.mark.skipif(platform.machine() not in ARCHITECTURE, reason="its number is not in this file")
def test_short_program_takes_away_what_only_making_and_closing_need_and_nothing_else() -> None:
    early, late = seccomp.programs()
    taken = {number_of(name): errno.EPERM for name in UNTIL_SEALED} | {number_of("clone3"): errno.ENOSYS}
    for number in range(600):
        refusal = ERRNO | taken[number] if number in taken else ALLOW
        assert answer(late, number) == refusal
        if number in taken:
            assert answer(early, number) == ALLOW
    assert answer(late, number_of("prctl"), SET_DEATH_SIGNAL) == ERRNO  # it succeeds and does nothing


@pytest.mark.skipif(platform.machine() not in ARCHITECTURE, reason="its number is not in this file")
@pytest.mark.parametrize(
    "name", ["setns", "chroot", "pivot_root", "umount2", "ptrace", "bpf", "keyctl", "setdomainname"]
)
def test_long_program_refuses_what_neither_needs(name: str) -> None:
    assert answer(seccomp.programs()[0], number_of(name)) == ERRNO | errno.EPERM
