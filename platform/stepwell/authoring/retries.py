"""How often a failed step is tried again, and when.

The delay after a failure is computed once, by whoever writes the failure down: replays read it. So it may be random,
and an author's function that decides it may do what it likes.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stepwell.authoring.durations import Duration, seconds_of
from stepwell.authoring.failures import FinalError

Backoff = Literal["exponential", "linear", "constant"]
BACKOFFS: tuple[Backoff, ...] = get_args(Backoff)
Decide = Callable[[int, BaseException], Duration | None]
"""(number of the attempt that failed, its error) → how long to wait before the next one, None: no more."""
NEVER: tuple[type[BaseException], ...] = (
    TypeError, NameError, AttributeError, ImportError, AssertionError, FinalError,
)  # fmt: skip
"""Mistakes in the code: the second try makes them again."""
MOST = 1000
_TOLD = ("max", "delay", "backoff", "cap", "jitter")
_random = random.SystemRandom()  # forked isolates share the state of any other generator


class RetryRefused(Exception):
    """An author's function gave no delay; the message says what instead."""


@dataclass(frozen=True)
class Retry:
    """Try a failed step again up to `max` times, waiting `delay` first and never longer than `cap`.

    `jitter` is the part of the delay by which it may be longer or shorter: 0.1 for ±10 %. `never` lists exceptions of
    `step.do` functions that are final; `Retry(never=())` retries every one but FinalError.
    """

    max: int = 5
    delay: Duration = "10 seconds"
    backoff: Backoff = "exponential"
    cap: Duration = "1 hour"
    never: tuple[type[BaseException], ...] = NEVER
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.max, bool) or not isinstance(self.max, int) or not 0 <= self.max <= MOST:
            raise ValueError(f"retries has value {self.max!r}. Write a whole number between 0 and 1000, or a Retry(…).")
        if self.backoff not in BACKOFFS:
            raise ValueError(f'backoff has value {self.backoff!r}. Write "exponential", "linear" or "constant".')
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, (int, float)) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter has value {self.jitter!r}. Write a number between 0 and 1, like 0.1 for ±10 %.")
        object.__setattr__(self, "never", _types_of(self.never))
        object.__setattr__(self, "delay", seconds_of(self.delay, "Retry delay"))
        object.__setattr__(self, "cap", seconds_of(self.cap, "Retry cap"))

    def after(self, attempt: int, error: BaseException) -> float | None:
        """Seconds to wait after the failure of an attempt, counted from 1; None when it was the last."""
        if attempt > self.max or isinstance(error, (*self.never, FinalError)):
            return None
        return self.delay_after(attempt)

    def after_death(self, attempt: int) -> float | None:
        """Seconds to wait when the attempt took its isolate with it, or None."""
        return self.delay_after(attempt) if attempt <= self.max else None

    def delay_after(self, attempt: int) -> float:
        """Seconds to wait after the failure of the given attempt, counted from 1."""
        delay, cap = seconds_of(self.delay), seconds_of(self.cap)
        if self.backoff == "exponential":
            delay *= 2 ** min(attempt - 1, 60)
        elif self.backoff == "linear":
            delay *= attempt
        if self.jitter:
            delay *= _random.uniform(1 - self.jitter, 1 + self.jitter)
        return min(delay, cap)

    def as_json(self) -> dict[str, Any]:
        """Give the form in which a step's options carry it."""
        jitter = {"jitter": float(self.jitter)} if self.jitter else {}
        return {"max": self.max, "delay": self.delay, "backoff": self.backoff, "cap": self.cap, **jitter}

    @classmethod
    def of_json(cls, told: Any) -> "Retry":
        """Read what `as_json` gave, or a number of retries; None: no retries. What is left out is the default.

        Journals have backoffs that nothing refused when they were asked for: these are constant, as they were then.
        """
        policy = told if isinstance(told, Mapping) else {"max": told}
        given = {name: value for name in _TOLD if (value := policy.get(name)) is not None}
        backoff = given.get("backoff", "exponential")
        return cls(**{"max": 0, **given, "backoff": backoff if backoff in BACKOFFS else "constant"})


def _types_of(never: object) -> tuple[type[BaseException], ...]:
    types = tuple(never) if isinstance(never, (tuple, list, set, frozenset)) else (never,)
    if all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        return types
    raise TypeError(f"never has value {never!r}. Write the exceptions themselves, like never=(ValueError, KeyError).")


FUNCTION_DEFAULT = Retry()


@dataclass(frozen=True)
class RetryFunction:
    """Asks an author's function after each failed attempt, but not after FinalError."""

    decide: Decide

    def after(self, attempt: int, error: BaseException) -> float | None:
        """Seconds to wait, or None. Raises RetryRefused, and what the function raises."""
        if attempt >= MOST or isinstance(error, FinalError):
            return None
        delay = self.decide(attempt, error)
        try:
            return None if delay is None else seconds_of(delay, "the delay that retries= gave")
        except (TypeError, ValueError) as wrong:
            raise RetryRefused(str(wrong)) from wrong

    def after_death(self, attempt: int) -> float | None:
        """Do as if there were no function: it is gone with the isolate."""
        return FUNCTION_DEFAULT.after_death(attempt)


Retries = Retry | RetryFunction


def retry_of(value: object) -> Retry:
    """Turn what an author wrote after `retries=` of a command into a Retry."""
    if isinstance(value, Retry):
        if value.never is not NEVER:
            raise TypeError("retries has a Retry with never=…. Leave it out: a command fails by its exit code.")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value)
    if callable(value):
        raise TypeError(
            f"retries has value {value!r}. A function decides for step.do only; write a whole number or a Retry(…)."
        )
    raise TypeError(f"retries has value {value!r}. Write a whole number between 0 and 1000, or a Retry(…).")


def retries_of(value: object) -> Retries:
    """Turn what an author wrote after `retries=` of a function into what decides."""
    if isinstance(value, Retry):
        return value
    if callable(value) and not isinstance(value, type):
        return RetryFunction(value)
    return retry_of(value)
