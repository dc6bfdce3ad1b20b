"""Where a restarted run comes from: told by its first entry, heeded by the fold and by every replay.

The code of a restarted run replays what an earlier run lived through, so it has to see the same number, draw the same
random numbers and read the same times; only people see that it is another run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What a run adopted: entries 2 to `until` are those of `run` before it asked for `step`."""

    run: str
    step: str  # key
    until: int
    at: float  # when it was restarted; its first entry has the time at which the first run of the line was created
    seed: str  # id of the first run of the line, of which random numbers are made
    number: int  # of the first run, as the code knows it
    same_code: bool | None = (
        None  # then decisions were adopted too, else people are asked again; None: not written down
    )
    origins: tuple[tuple[str, int], ...] = ()  # (run, last entry that is from it), oldest first, up to (run, until)

    @classmethod
    def of_json(cls, data: Mapping[str, Any] | None) -> "Ancestry | None":
        """Read it from a first entry."""
        if data is None:
            return None
        return cls(**{**data, "origins": tuple((run, until) for run, until in data["origins"])})

    def as_json(self) -> dict[str, Any]:
        """Write it into a first entry."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "origins": [list(origin) for origin in self.origins]}

    def origin_of(self, seq: int) -> str:
        """The run that lived through an entry; "" for this run itself."""
        return next((run for run, until in self.origins if seq <= until), "")
