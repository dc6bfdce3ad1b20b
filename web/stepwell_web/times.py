"""Durations and moments in words for people; the exact value always stands beside them in the page."""

from datetime import UTC, datetime


def duration(seconds: float | None) -> str:
    """Write a length of time as people say it: `0.4s`, `12s`, `1m 32s`, `3h 05m`, `2d 4h`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def relative(at: float, now: float) -> str:
    """Say how long ago, or in how long, a moment is."""
    gap = now - at
    if abs(gap) < 45:
        return "just now" if gap >= 0 else "in a moment"
    for size, word in ((86400.0, "day"), (3600.0, "h"), (60.0, "min")):
        if abs(gap) >= size * 0.98:
            n = round(abs(gap) / size)
            text = f"{n} {word}{'s' if word == 'day' and n > 1 else ''}"
            break
    else:
        text = "1 min"
    if abs(gap) > 30 * 86400:
        return f"{datetime.fromtimestamp(at, UTC):%-d %b %Y}"
    return f"{text} ago" if gap > 0 else f"in {text}"


def until(at: float, now: float) -> str:
    """Write when something goes on: the time of day, with the date if that is not the next such time."""
    form = "%H:%M:%S" if is_near(at, now) else "%-d %b %Y, %H:%M"
    return f"{datetime.fromtimestamp(at, UTC).strftime(form)} UTC"


def is_near(at: float, now: float) -> bool:
    """Say whether the time of day is enough to tell a moment to come."""
    return at - now < 86400


def day_clock(at: float) -> str:
    """Write the day and the time of day."""
    return f"{datetime.fromtimestamp(at, UTC):%-d %b, %H:%M:%S}"


def listed(at: float, above: float | None) -> str:
    """Write the time of day in a list, with the day if that is another one than in the row above."""
    same = above is not None and datetime.fromtimestamp(above, UTC).date() == datetime.fromtimestamp(at, UTC).date()
    return clock(at) if same else day_clock(at)


def iso(at: float) -> str:
    """Write a moment for machines: ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact(at: float) -> str:
    """Write a moment exactly, for the tooltip beside a relative one."""
    return f"{datetime.fromtimestamp(at, UTC):%-d %B %Y, %H:%M:%S} UTC"


def clock(at: float) -> str:
    """Write the time of day of a log line."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def size(n: int) -> str:
    """Write a number of bytes."""
    value = float(n)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{n} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
