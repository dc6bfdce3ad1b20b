"""Follow a run in the terminal: each step's lines as they come, with its name in front, and what became of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from stepwell.cli.screen import SIGNS, duration, plain, plain_coloured
from stepwell.cli.where import FINISHED

NOTE = b"\x1e"  # begins a line of Stepwell's own in a log
NAME_WIDTH = 24
OWN = "Output of the run"  # what its code printed outside of steps


class Source(Protocol):
    """Where a run can be read: over HTTP, or in this process."""

    def view(self) -> dict[str, Any]:
        """The run in full, as the API gives it, `flat`."""
        ...

    def log(self, key: str, offset: int, attempt: int | None = None) -> bytes:
        """A stretch of a step's log from an offset in bytes; of the run's own with the key ""."""
        ...


def ending(view: dict[str, Any]) -> list[str]:
    """Say why a run came to another end than to pass, and how people may go on after it diverged."""
    if view["state"] not in FINISHED or view["state"] == "passed":
        return []
    told = [f"Run #{view['number']} is {view['state']}: {view['reason']}" if view["reason"] else ""]
    for way in view["ways_on"]:
        run = f"{view['tenant']}/{view['repository']}#{way['run']['number']}"
        told.append(f"{way['words']}: stepwell restart {quote(run)} --from {quote(way['from_step'])}")
    return [line for line in told if line]


@dataclass
class _Shown:
    """What has been printed of one step."""

    told: tuple[str, int] = ("", 0)  # state and attempt
    begun: bool = False
    attempt: int = 1
    offset: int = 0
    rest: bytes = b""
    lines: int = 0


@dataclass
class Follower:
    """Prints what is new in a run each time it is asked to look."""

    source: Source
    console: Console
    only: str | None = None  # name or key of the one step to show
    _shown: dict[str, _Shown] = field(default_factory=dict)
    _own: _Shown = field(default_factory=_Shown)

    def until(self, enough: Callable[[dict[str, Any]], bool], pause: float = 0.15) -> dict[str, Any]:
        """Look again until the run is over or `enough` says so, for half of the time at most; give the last view."""
        while True:
            begun = time.monotonic()
            view = self.look()
            if view["state"] in FINISHED or enough(view):
                return view
            time.sleep(max(pause, time.monotonic() - begun))

    def look(self) -> dict[str, Any]:
        """Print what is new."""
        view = self.source.view()
        over = view["state"] in FINISHED
        if not over:
            self._own_words()
        for step in view["steps"]:
            if self.only in (None, step["name"], step["key"]):
                self._step(step)
        if over:  # the last words come last
            self._own_words()
            self._flush(OWN, self._own)
        return view

    def earlier(self, told: dict[str, Any]) -> None:
        """Print a round that is over, as the run in full tells of it: what its commands were is not known any more."""
        for step in told["steps"]:
            if self.only in (None, step["name"], step["key"]):
                shown = _Shown()
                if step["attempt"]:  # else it has no log
                    self._log(step, shown)
                    self._flush(step["name"], shown)
                sign, style = SIGNS.get(step["state"], (" ", ""))
                words = step["state"] if step["seconds"] is None else f"{step['state']} in {duration(step['seconds'])}"
                self._line(step["name"], Text(f"{sign} {words}", style=style))
        if self.only is None:
            self._lines(OWN, f"@{told['number']}", self._own)
            self._flush(OWN, self._own)

    def _own_words(self) -> None:
        if self.only is None:
            self._lines(OWN, "", self._own)

    def _step(self, step: dict[str, Any]) -> None:
        shown = self._shown.setdefault(step["key"], _Shown())
        if step["kind"] == "run" and step["state"] != "queued":
            if not shown.begun:
                self._line(step["name"], Text(plain(f"$ {step['command']}", "\n\t"), style="dim"))
                shown.begun = True
            self._log(step, shown)
        now = (step["state"], step["attempt"])  # a short attempt comes and goes between two looks
        if now == shown.told:
            return
        shown.told = now
        if step["state"] in ("queued", "running"):
            return
        self._flush(step["name"], shown)
        sign, style = SIGNS.get(step["state"], (" ", ""))
        self._line(step["name"], Text(plain(f"{sign} {self._words(step)}", "\n\t"), style=style))

    def _words(self, step: dict[str, Any]) -> str:
        words = str(step["state"])
        if step.get("ended_at") is not None:
            words += f" in {duration(step['ended_at'] - (step.get('started_at') or step['asked_at']))}"
        if reused := step.get("reused"):
            words += f", reused from #{reused['number']}"
        if origin := step.get("origin"):
            words += f", from run #{origin['number']}"
        if step["state"] in ("waiting", "retrying", "passed") and step.get("reason"):
            words += f": {step['reason']}"
        if step["state"] == "failed" and step.get("error"):
            words += f": {step['error']['message']}"
        return words

    def _log(self, step: dict[str, Any], shown: _Shown) -> None:
        for attempt in range(shown.attempt, max(step["attempt"], 1) + 1):
            if attempt > shown.attempt:
                self._flush(step["name"], shown)
                shown.attempt, shown.offset = attempt, 0
            self._lines(step["name"], step["key"], shown)

    def _lines(self, name: str, key: str, shown: _Shown) -> None:
        for part in self._parts(key, shown):
            *lines, shown.rest = (shown.rest + part).split(b"\n")
            for line in lines:
                self._text(name, line)
                shown.lines += 1

    def _parts(self, key: str, shown: _Shown) -> Iterator[bytes]:
        while part := self.source.log(key, shown.offset, shown.attempt if key else None):
            shown.offset += len(part)
            yield part

    def _flush(self, name: str, shown: _Shown) -> None:
        if shown.rest:
            self._text(name, shown.rest)
            shown.rest = b""

    def _text(self, name: str, line: bytes) -> None:
        # What a carriage return overwrites is not worth a line; escapes other than colours are dropped.
        last = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
        note = line.startswith(NOTE)
        text = Text(plain(last[1:], "\t"), style="italic dim") if note else Text.from_ansi(plain_coloured(last))
        self._line(name, text)

    def _line(self, name: str, text: Text) -> None:
        # The end of a long name tells more than its beginning does.
        short = name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :]
        self.console.print(Text.assemble((plain(short).ljust(NAME_WIDTH), "cyan"), (" │ ", "dim"), text))
