"""What a journal says that the code asked: the yardstick of a replay."""

from collections.abc import Container, Sequence
from typing import Any

_FROM_CODE = frozenset({"asked", "took", "dropped", "retry", "undoing"})


class Past:
    """An index of a journal. `played` is the last entry whose drain an earlier turn has certainly run."""

    def __init__(self, entries: Sequence[Sequence[Any]], played: int) -> None:
        self.asked: dict[str, tuple[str, str]] = {}
        self.done: set[str] = set()
        self.took: dict[str, int] = {}
        self.dropped: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.backing_off: set[str] = set()
        self.undoing = False
        self.played = played
        self._where: dict[str, str] = {}
        delivered = 0
        for seq, _at, type_, key, _attempt, data in entries:
            if type_ in _FROM_CODE or (type_ == "done" and data.get("inline")):
                self.played = max(self.played, delivered)
            if type_ not in _FROM_CODE:
                delivered = seq
            self._read(type_, key, data)

    def _read(self, type_: str, key: str, data: Any) -> None:
        if type_ == "asked":
            self.asked[key] = (data["kind"], data["fingerprint"])
            self._where[key] = data.get("where") or ""
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
