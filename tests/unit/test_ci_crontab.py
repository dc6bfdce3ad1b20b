"""Cron fields mean what cron means by them."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from stepwell.ci.crontab import next_after


def moments(schedule: str, start: str, count: int = 3, zone: str = "UTC") -> list[str]:
    at = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp()
    found = []
    for _ in range(count):
        following = next_after(schedule, zone, at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%a %m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 3 * * *", ["Thu 01-01 03:00", "Fri 01-02 03:00", "Sat 01-03 03:00"]),
        ("*/20 5 * * *", ["Thu 01-01 05:00", "Thu 01-01 05:20", "Thu 01-01 05:40"]),
        ("0 0 * * 0", ["Sun 01-04 00:00", "Sun 01-11 00:00", "Sun 01-18 00:00"]),
        ("0 0 * * 7", ["Sun 01-04 00:00", "Sun 01-11 00:00", "Sun 01-18 00:00"]),
        ("0 0 * * 1-3", ["Mon 01-05 00:00", "Tue 01-06 00:00", "Wed 01-07 00:00"]),
        ("0 0 * * 5-7", ["Fri 01-02 00:00", "Sat 01-03 00:00", "Sun 01-04 00:00"]),
        ("0 0 * * sat,sun", ["Sat 01-03 00:00", "Sun 01-04 00:00", "Sat 01-10 00:00"]),
        ("0 0 * * */3", ["Sat 01-03 00:00", "Sun 01-04 00:00", "Wed 01-07 00:00"]),
        ("0 0 1 feb *", ["Sun 02-01 00:00", "Mon 02-01 00:00", "Tue 02-01 00:00"]),
        ("0 0 10 * mon", ["Mon 01-05 00:00", "Sat 01-10 00:00", "Mon 01-12 00:00"]),
    ],
)
def test_a_schedule_names_its_moments(schedule: str, expected: list[str]) -> None:
    assert moments(schedule, "2026-01-01T00:01") == expected


def test_a_schedule_keeps_to_its_time_zone() -> None:
    assert moments("30 1 * * *", "2026-03-28T00:00", 2, "Europe/Berlin") == ["Sat 03-28 01:30", "Sun 03-29 01:30"]


def test_the_next_moment_is_later_than_the_given_one() -> None:
    at = datetime(2026, 1, 1, 3, 0, tzinfo=ZoneInfo("UTC")).timestamp()
    assert next_after("0 3 * * *", "UTC", at) == at + 86400
    assert next_after("0 3 * * *", "UTC", at - 0.5) == at


def test_a_day_that_never_comes_has_no_next_moment() -> None:
    assert next_after("0 0 31 2 *", "UTC", 0) is None
