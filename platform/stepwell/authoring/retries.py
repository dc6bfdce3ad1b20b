"""How often a failed step is tried again, and when."""

from dataclasses import dataclass
from typing import Any, Literal

from stepwell.authoring.durations import Duration, seconds_of
from stepwell.authoring.failures import FinalError

Backoff = Literal["exponential", "linear", "constant"]
NEVER: tuple[type[BaseException], ...] = (
    TypeError, NameError, AttributeError, ImportError, AssertionError, FinalError,
)  # fmt: skip
"""Mistakes in the code: the second try makes them again."""


@dataclass(frozen=True)
class Retry:
    """Try a failed step again up to `max` times, waiting `delay` first and never longer than `cap`.

    `never` lists exceptions of `step.do` functions that are final; `Retry(never=())` retries every one.
    """

    max: int = 5
    delay: Duration = "10 seconds"
    backoff: Backoff = "exponential"
    cap: Duration = "1 hour"
    never: tuple[type[BaseException], ...] = NEVER

    def __post_init__(self) -> None:
        if isinstance(self.max, bool) or not isinstance(self.max, int) or not 0 <= self.max <= 1000:
            raise ValueError(f"retries has value {self.max!r}. Write a whole number between 0 and 1000, or a Retry(…).")
        if self.backoff not in ("exponential", "linear", "constant"):
            raise ValueError(f'backoff has value {self.backoff!r}. Write "exponential", "linear" or "constant".')
        object.__setattr__(self, "delay", seconds_of(self.delay, "Retry delay"))
        object.__setattr__(self, "cap", seconds_of(self.cap, "Retry cap"))

    def delay_after(self, attempt: int) -> float:
        """Seconds to wait after the failure of the given attempt, counted from 1."""
        delay, cap = seconds_of(self.delay), seconds_of(self.cap)
        if self.backoff == "exponential":
            delay *= 2 ** min(attempt - 1, 60)
        elif self.backoff == "linear":
            delay *= attempt
        return min(delay, cap)

    def as_json(self) -> dict[str, Any]:
        """Give the form in which a step's options carry it."""
        return {"max": self.max, "delay": self.delay, "backoff": self.backoff, "cap": self.cap}


FUNCTION_DEFAULT = Retry()


def retry_of(value: object) -> Retry:
    """Turn what an author wrote after `retries=` into a Retry."""
    if isinstance(value, Retry):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value)
    raise TypeError(f"retries has value {value!r}. Write a whole number between 0 and 1000, or a Retry(…).")
