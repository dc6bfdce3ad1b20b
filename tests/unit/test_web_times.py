import pytest

from stepwell_web import times


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.042, "42ms"),
        (0.9999, "1.0s"),
        (3, "3.0s"),
        (9.97, "10s"),
        (59.6, "1m 00s"),
        (92, "1m 32s"),
        (3725, "1h 02m"),
        (187_200, "2d 4h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    assert times.duration(seconds) == words


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (3, "just now"),
        (50, "1 min ago"),
        (540, "9 min ago"),
        (7300, "2 h ago"),
        (2 * 86400, "2 days ago"),
        (-86400, "in 1 day"),
    ],
)
def test_moments_are_said_from_now(gap: float, words: str) -> None:
    assert times.relative(1_763_800_000 - gap, 1_763_800_000) == words


def test_a_list_tells_the_day_where_it_changes() -> None:
    midnight = 1_763_769_600.0
    rows = (None, midnight - 2), (midnight - 2, midnight - 1), (midnight - 1, midnight), (midnight, midnight + 86_400)
    assert [times.listed(at, above) for above, at in rows] == [
        "21 Nov, 23:59:58", "23:59:59", "22 Nov, 00:00:00", "23 Nov, 00:00:00",
    ]  # fmt: skip


def test_machines_get_the_exact_moment() -> None:
    assert times.iso(1_763_800_000.25) == "2025-11-22T08:26:40.250Z"


@pytest.mark.parametrize(("n", "words"), [(14, "14 B"), (9_234, "9.2 kB"), (5_400_000, "5.4 MB")])
def test_sizes_have_units(n: int, words: str) -> None:
    assert times.size(n) == words
