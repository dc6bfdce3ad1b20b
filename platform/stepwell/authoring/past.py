"""What a journal says that the code asked: the yardstick of a replay."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from stepwell.authoring.frames import PASSED
from stepwell.authoring.results import canonical, decode

DIFFERENCES = 3
"""Settings that a divergence names."""
SHOWN = 80
"""Characters of a setting's value that it shows."""
_ENDED = frozenset({"done", PASSED})
_FROM_CODE = frozenset({"asked", "took", "dropped", "retry", "undoing"})


class Past:
    """An index of a journal. `played` is the last entry whose drain an earlier turn has certainly run.

    Functions that ended at their first try are not in it: a long journal is full of them, and their results say
    themselves what was asked.
    """

    def __init__(self, entries: Sequence[Sequence[Any]] = (), played: int = 0) -> None:
        self.asked: dict[str, tuple[str, str]] = {}
        self.took: dict[str, int] = {}
        self.dropped: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.backing_off: set[str] = set()
        self.undoing = False
        self.played = played
        self._where: dict[str, str] = {}
        self._options: dict[str, Any] = {}
        self._seqs: dict[str, int] = {}
        self._delivered = 0
        self.add(entries)

    def add(self, entries: Sequence[Sequence[Any]]) -> None:
        """Take the next entries of the journal."""
        for seq, _at, type_, key, _attempt, data in entries:
            if type_ not in _ENDED:
                self._read(seq, type_, key, data)
        self._look_how_far(entries)

    def _look_how_far(self, entries: Sequence[Sequence[Any]]) -> None:
        """Whatever the code has caused, it had dealt with what was delivered before."""
        last = caused = 0
        for seq, _at, type_, _key, _attempt, data in reversed(entries):
            from_code = type_ in _FROM_CODE
            if not from_code:
                last = last or seq
                if caused:
                    self.played = max(self.played, seq)
                    break
            caused = caused or from_code or type_ == PASSED or (type_ == "done" and bool(data.get("inline")))
        else:
            if caused:
                self.played = max(self.played, self._delivered)
        self._delivered = last or self._delivered

    def _read(self, seq: int, type_: str, key: str, data: Any) -> None:
        if type_ == "asked":
            self.asked[key] = (data["kind"], data["fingerprint"])
            self._seqs[key] = seq
            self._where[key] = data.get("where") or ""
            self._options[key] = data.get("options")
        elif type_ == "took":
            self.took[key] = data["event"]
        elif type_ == "dropped":
            self.dropped.add(key)
        elif type_ == "retry":
            self.attempts[key] = self.attempts.get(key, 0) + 1
            self.backing_off.add(key)
            if inline := data.get("inline"):
                self.asked[key] = (inline["kind"], inline["fingerprint"])
                self._seqs.setdefault(key, seq)
        elif type_ == "fired":
            self.backing_off.discard(key)
        elif type_ == "undoing":
            self.undoing = True

    def left_over(self, asked: Container[str], timers: int, results: Mapping[str, int]) -> str | None:
        """Give the first key that the journal knows and the code has not asked again.

        `results`: keys of results of functions that it has not asked, and their entries.
        """
        left = dict(results)
        for key, (kind, _) in self.asked.items():
            if int(key[1:]) > timers if kind == "timer" else key not in asked:
                left[key] = self._seqs[key]
        return min(left, key=left.__getitem__, default=None)

    def told(self, key: str) -> str:
        """Say in words what the journal knows of a key."""
        kind = self.asked[key][0] if key in self.asked else "do"
        where = f" asked at {self._where[key]}" if self._where.get(key) else ""
        return f"the journal has it as a {kind} step{where}"

    def told_otherwise(
        self, key: str, kind: str, options: Mapping[str, Any] | None, where: str, known: str = "do"
    ) -> str:
        """Say in words how what the code asks now differs from what the journal knows of the key.

        `known`: the kind that the journal knows it by, where it has no ask of its own.
        """
        place = f" at {where}" if where else ""
        if (self.asked[key][0] if key in self.asked else known) != kind:
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
