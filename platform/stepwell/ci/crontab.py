"""Five cron fields as a trigger of APScheduler, which counts weekdays from Monday and joins days by "and".

Written as cron knows them: Sunday is 0 and 7, `day` and `weekday` both restricted mean "either".
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def trigger_of(schedule: str, timezone: str) -> Any:
    """Return the trigger; ValueError for what is no schedule."""
    from apscheduler.triggers.combining import OrTrigger  # type: ignore[import-untyped]
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

    minute, hour, day, month, weekday = schedule.split()
    fixed = {"minute": minute, "hour": hour, "month": month.lower(), "timezone": ZoneInfo(timezone)}
    weekdays = _weekdays(weekday)
    if day == "*" or weekdays == "*":
        return CronTrigger(day=day, day_of_week=weekdays, **fixed)
    return OrTrigger([CronTrigger(day=day, **fixed), CronTrigger(day_of_week=weekdays, **fixed)])


def next_after(schedule: str, timezone: str, at: float) -> float | None:
    """Return the first moment later than `at` (seconds since the epoch); None when there is none."""
    now = datetime.fromtimestamp(at, ZoneInfo(timezone))
    found = trigger_of(schedule, timezone).get_next_fire_time(now, now)
    while found is not None and found.timestamp() <= at:
        found = trigger_of(schedule, timezone).get_next_fire_time(found, found)
    return None if found is None else float(found.timestamp())


def _weekdays(field: str) -> str:
    """Write a weekday field as a list of names."""
    if field == "*":
        return "*"
    days: set[int] = set()
    for item in field.lower().split(","):
        base, _, step = item.partition("/")
        first, _, last = base.partition("-")
        low = 0 if base == "*" else _number(first)
        high = 6 if base == "*" else _number(last) if last else 6 if step else low
        days.update(day % 7 for day in range(low, high + 1, int(step or 1)))
    return ",".join(_DAYS[day] for day in sorted(days))


def _number(name: str) -> int:
    return _DAYS.index(name) if name in _DAYS else int(name)
