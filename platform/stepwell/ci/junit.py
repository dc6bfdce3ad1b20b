"""JUnit reports: which tests passed, failed or were skipped, read from what a stranger's command wrote. Pure.

There is no standard, so only what all writers have in common is read: `testcase` elements anywhere, and in them
`failure`, `error` and `skipped`. Totals that a report claims for itself are not believed: cases are counted.

The parser is expat as it comes with Python, fed piece by piece, and no tree is built. Declarations of entities are
refused, so nothing grows by being referred to; nothing outside of the document is ever looked at; depth, number and
lengths are bounded.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO, Literal
from xml.parsers import expat

CaseState = Literal["passed", "failed", "error", "skipped"]
STATES: tuple[CaseState, ...] = ("failed", "error", "skipped", "passed")
"""What people look at first comes first."""
MOST_CASES = 20_000
"""Cases that are kept: of more, those that passed go first. All are counted."""
MOST_TOLD = 500
"""Failures whose text is kept."""
NAME_CHARACTERS, MESSAGE_CHARACTERS, TEXT_CHARACTERS = 500, 2_000, 16_000
_DEEPEST = 100
_OUTCOMES: Mapping[str, CaseState] = {"failure": "failed", "error": "error", "skipped": "skipped"}


class _Refused(Exception):
    """The report holds something that is not read."""


@dataclass(frozen=True)
class Case:
    """A test. `group` is its class or suite; `text` the traceback, if it failed."""

    group: str
    name: str
    state: CaseState = "passed"
    seconds: float = 0.0
    message: str = ""
    text: str = ""
    file: str = ""
    line: int | None = None


@dataclass
class Report:
    """What a step's reports say together. `left` counts cases beyond the bound, `problems` are (path, why)."""

    cases: list[Case] = field(default_factory=list)
    left: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    _told: int = 0
    _passed: list[int] = field(default_factory=list)  # where in `cases` those are that may go
    _beyond: Counter[CaseState] = field(default_factory=Counter)
    _beyond_seconds: float = 0.0

    def add(self, path: str, source: BinaryIO) -> None:
        """Read one more file; what is wrong with it becomes a problem, and the cases before that count."""
        try:
            _Reader(self).read(source)
        except expat.ExpatError as error:
            why = f"It is no well-formed XML: {expat.errors.messages.get(error.code, 'error')}, line {error.lineno}."
            self.problems.append((path, why))
        except (_Refused, ValueError, LookupError) as error:
            self.problems.append((path, str(error) or "It cannot be read."))

    def take(self, case: Case) -> None:
        """Count a case, and keep it if there is room or one that passed can go for it."""
        if len(self.cases) >= MOST_CASES:
            is_kept = case.state != "passed" and bool(self._passed)
            self._leave(self.cases.pop(self._passed.pop()) if is_kept else case)
            if not is_kept:
                return
        if case.state == "passed":
            self._passed.append(len(self.cases))
        elif case.state != "skipped":
            self._told += 1
            if self._told > MOST_TOLD:
                case = replace(case, text="")
        self.cases.append(case)

    def _leave(self, case: Case) -> None:
        self.left += 1
        self._beyond[case.state] += 1
        self._beyond_seconds += case.seconds

    def counts(self) -> dict[str, Any]:
        """Count cases by state, for the journal."""
        found: dict[str, Any] = {"total": len(self.cases) + self.left}
        found |= {state: sum(case.state == state for case in self.cases) + self._beyond[state] for state in STATES}
        found["seconds"] = round(sum(case.seconds for case in self.cases) + self._beyond_seconds, 3)
        return found | {"problems": len(self.problems)}

    def as_json(self) -> dict[str, Any]:
        """Give everything as JSON, what people look at first at the beginning."""
        cases = sorted(self.cases, key=lambda case: STATES.index(case.state))
        return {
            "cases": [{name: value for name, value in asdict(case).items() if value} for case in cases],
            "left": self.left, "problems": [list(one) for one in self.problems],
        }  # fmt: skip


def report_of_json(data: Mapping[str, Any]) -> Report:
    """Read what `as_json` gave."""
    cases = [Case(**{"group": "", "name": "", **one}) for one in data["cases"]]
    return Report(cases, int(data["left"]), [(str(path), str(why)) for path, why in data["problems"]])


def add_up(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add counts of several steps."""
    total: dict[str, Any] = {}
    for one in counts:
        for name in ("total", *STATES, "seconds", "problems"):
            total[name] = total.get(name, 0) + one.get(name, 0)
    return total


class _Reader:
    """One file. Keeps the innermost case only, and the names of the suites around it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._depth = self._found = self._claimed = 0
        self._root = ""
        self._suites: list[str] = []
        self._case: Case | None = None
        self._telling: list[str] | None = None  # text of the failure that is being read
        self._length = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity

    def read(self, source: BinaryIO) -> None:
        self._parser.ParseFile(source)
        if not self._found and self._root not in ("testsuites", "testsuite"):
            raise _Refused(f"It is no JUnit report: its outermost element is <{self._root[:NAME_CHARACTERS]}>.")
        if not self._found and self._claimed:
            raise _Refused(f"It claims to have {self._claimed:,} tests, but has no <testcase>.")

    def _entity(self, *_: Any) -> None:
        raise _Refused("It declares entities of its own, which are not read.")

    def _start(self, tag: str, given: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Refused(f"It is nested deeper than {_DEEPEST} elements.")
        tag = tag.rpartition(":")[2]
        if self._depth == 1:
            self._root = tag
        if tag in ("testsuites", "testsuite"):
            self._claimed = max(self._claimed, _whole(given.get("tests", "")) or 0)
        if tag == "testsuite":
            self._suites.append(given.get("name", ""))
        elif tag == "testcase" and self._case is None:
            group = given.get("classname") or (self._suites[-1] if self._suites else "")
            name, file = given.get("name", "")[:NAME_CHARACTERS], given.get("file", "")[:NAME_CHARACTERS]
            seconds, line = _seconds(given.get("time", "")), _whole(given.get("line", ""))
            self._case = Case(group[:NAME_CHARACTERS], name, seconds=seconds, file=file, line=line)
        elif tag in _OUTCOMES and self._case is not None:
            state = min(self._case.state, _OUTCOMES[tag], key=STATES.index)
            message = self._case.message or given.get("message", "")[:MESSAGE_CHARACTERS]
            self._case = replace(self._case, state=state, message=message)
            self._telling, self._length = [], 0

    def _end(self, tag: str) -> None:
        self._depth -= 1
        tag = tag.rpartition(":")[2]
        if tag == "testsuite" and self._suites:
            self._suites.pop()
        elif tag in _OUTCOMES and self._case is not None and self._telling is not None:
            text = self._case.text or "".join(self._telling).strip()[:TEXT_CHARACTERS]
            self._case, self._telling = replace(self._case, text=text), None
        elif tag == "testcase" and self._case is not None:
            self._found += 1
            self._report.take(self._case)
            self._case = self._telling = None

    def _text(self, data: str) -> None:
        if self._telling is not None and self._length < TEXT_CHARACTERS:
            self._telling.append(data)
            self._length += len(data)


def _seconds(text: str) -> float:
    try:
        seconds = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return min(seconds, 1e9) if math.isfinite(seconds) and seconds > 0 else 0.0


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
