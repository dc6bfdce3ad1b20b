"""What a journal says that the code asked: the yardstick of a replay."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from stepwell.authoring.results import canonical, decode

DIFFERENCES = 3
"""Settings that a divergence names."""
SHOWN = 80
"""Characters of a setting's value that it shows."""
_FROM_CODE = frozenset({"asked", "took", "dropped", "retry", "undoing"})


class Past:
    """An index of a journal. `played` is the last entry whose drain an earlier turn has certainly run."""

    def __init__(self, entries: Iterable[Sequence[Any]] = (), played: int = 0) -> None:
        self.asked: dict[str, tuple[str, str]] = {}
        self.done: set[str] = set()
        self.took: dict[str, int] = {}
        self.dropped: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.backing_off: set[str] = set()
        self.undoing = False
        self.played = played
        self._where: dict[str, str] = {}
        self._options: dict[str, Any] = {}
        self._delivered = 0
        self.add(entries)

    def add(self, entries: Iterable[Sequence[Any]]) -> None:
        """Take the next entries of the journal."""
        delivered = self._delivered
        for seq, _at, type_, key, _attempt, data in entries:
            if type_ in _FROM_CODE or (type_ == "done" and data.get("inline")):
                self.played = max(self.played, delivered)
            if type_ not in _FROM_CODE:
                delivered = seq
            self._read(type_, key, data)
        self._delivered = delivered

    def _read(self, type_: str, key: str, data: Any) -> None:
        if type_ == "asked":
            self.asked[key] = (data["kind"], data["fingerprint"])
            self._where[key] = data.get("where") or ""
            self._options[key] = data.get("options")
        elif type_ == "done":
            self.done.add(key)
            self._inline(key, data)
        elif type_ == "took":
            self.took[key] = data["event"]
        elif type_ == "dropped":
            self.dropped.add(key)
        elif type_ == "retry":
            self.attempts[key] = self.attempts.get(key, 0) + 1
            self.backing_off.add(key)
            self._inline(key, data)
        elif type_ == "fired":
            self.backing_off.discard(key)
        elif type_ == "undoing":
            self.undoing = True

    def _inline(self, key: str, data: Any) -> None:
        inline = data.get("inline")
        if inline:
            self.asked[key] = (inline["kind"], inline["fingerprint"])

    def left_over(self, asked: Container[str], timers: int) -> str | None:
        """Give a key that the journal knows and the code has not asked again."""
        for key, (kind, _) in self.asked.items():
            if int(key[1:]) > timers if kind == "timer" else key not in asked:
                return key
        return None

    def told(self, key: str) -> str:
        """Say in words what the journal knows of a key."""
        kind = self.asked[key][0] if key in self.asked else "do"
        where = f" asked at {self._where[key]}" if self._where.get(key) else ""
        return f"the journal has it as a {kind} step{where}"

    def told_otherwise(self, key: str, kind: str, options: Mapping[str, Any] | None, where: str) -> str:
        """Say in words how what the code asks now differs from what the journal knows of the key."""
        place = f" at {where}" if where else ""
        if self.asked[key][0] != kind:
            return f"it is now a {kind} step{place}"
        if kind == "do":
            return f"it is now another function, or has other arguments{place}"
        told = _differences(self._options.get(key) or {}, decode(canonical(options or {})))
        return f"it is now asked with other settings{place}{': ' if told else ''}{told}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    told = [f"{name} was {_short(old.get(name))}, is {_short(new.get(name))}" for name in names[:DIFFERENCES]]
    return ", ".join(told) + (f", and {len(names) - DIFFERENCES} more" if len(names) > DIFFERENCES else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
