"""Memory that this host has left, and what of it isolates that nobody has claimed may take."""

from contextlib import suppress
from pathlib import Path

BLANK_BYTES = 6 << 20  # private pages, page tables, stack, namespaces: see docs/decisions/blanks.md
_PART, _MOST_PART = 16, 8  # more blanks are made up to the one part, and taken away above the other
_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def affordable(blanks: int, wanted: int, available: int) -> int:
    """As many of the wanted as may stand, where so many stand and so many bytes are available.

    The gap between both parts keeps the blanks themselves from being made and taken away by turns.
    """
    begun, kept = (available // part // BLANK_BYTES for part in (_PART, _MOST_PART))
    return min(wanted, max(begun, min(blanks, kept)))


def available(cgroup: Path | None, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that new processes in this cgroup can have without anything being swapped or killed."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    left = int(lines["MemAvailable"].split()[0]) << 10
    for limit, usage, cache in _LIMITS if cgroup is not None else ():
        with suppress(FileNotFoundError):  # another version, or the root, which has no limit
            assert cgroup is not None
            most = (cgroup / limit).read_text().strip()
            if most != "max":
                stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
                left = min(left, int(most) - int((cgroup / usage).read_text()) + int(stat[cache]))
    return max(0, left)
