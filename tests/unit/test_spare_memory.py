"""Blanks beyond the usual number take a share of what memory is left, here and in the server's own cgroup."""

from pathlib import Path

import pytest

from stepwell_runners.spare_memory import BLANK_BYTES, affordable, available

GIB = 1 << 30


def meminfo(tmp_path: Path, kib: int) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 999 kB\nMemAvailable:  {kib} kB\nHugePages_Total: 0\n")
    return path


@pytest.mark.parametrize(
    ("blanks", "available", "found"),
    [
        (0, 64 * GIB, 50),
        (0, 1 * GIB, 10),  # a sixteenth
        (15, 1 * GIB, 15),  # grows no further, and does not shrink yet
        (50, 1 * GIB, 21),  # an eighth
        (30, 0, 0),
    ],
)
def test_blanks_take_a_share_of_what_is_available(blanks: int, available: int, found: int) -> None:
    assert affordable(blanks, 50, available) == found


def test_making_blanks_does_not_make_them_too_many() -> None:
    left, blanks = GIB, 0
    while (wanted := affordable(blanks, 64, left)) > blanks:
        left, blanks = left - BLANK_BYTES, blanks + 1
    assert 0 < blanks < 64
    assert affordable(blanks, 64, left) == blanks == wanted


def test_available_is_what_the_host_says(tmp_path: Path) -> None:
    assert available(None, meminfo(tmp_path, 2048)) == 2 << 20
    assert available(tmp_path, meminfo(tmp_path, 2048)) == 2 << 20  # a cgroup without a limit


@pytest.mark.parametrize(
    ("limit", "usage", "cache"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_available_is_what_the_cgroup_leaves_where_that_is_less(
    limit: str, usage: str, cache: str, tmp_path: Path
) -> None:
    host = meminfo(tmp_path, 2048)
    (tmp_path / limit).write_text(f"{5 << 20}\n")
    (tmp_path / usage).write_text(f"{5 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\n{cache} {1 << 20}\n")
    assert available(tmp_path, host) == 1 << 20
    (tmp_path / usage).write_text(f"{9 << 20}\n")
    assert available(tmp_path, host) == 0
    if limit == "memory.max":
        (tmp_path / limit).write_text("max\n")
        assert available(tmp_path, host) == 2 << 20
