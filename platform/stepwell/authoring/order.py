"""When a run may begin, as data: `concurrency = group(…)`, `rate_limit = rate(…)`, `priority = 5`."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from stepwell.authoring.durations import Duration, seconds_of

Policy = Literal["cancel", "queue", "newest"]
PRIORITY = 10
"""Priorities are from -10 to 10."""
MOST_RUNS = 10_000
"""Largest number of runs that a rate may name: so many rows are kept for it."""
LONGEST_KEY = 200


@dataclass(frozen=True)
class Group:
    """Runs of one group do not run side by side; `policy` says what happens to the others."""

    group: str
    policy: Policy

    def as_json(self) -> dict[str, Any]:
        """Give the form that travels to the host."""
        return asdict(self)


@dataclass(frozen=True)
class Rate:
    """At most `runs` runs with this key begin in any `seconds`. Each run is held to its own numbers."""

    key: str
    runs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give the form that travels to the host."""
        return asdict(self)


def group(name: str, policy: Policy = "queue") -> Group:
    """Name a concurrency group; `{branch}`, `{tag}`, `{kind}` and `{sha}` are filled in per event."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f'group has name {name!r}. Write something like group("ship-{{branch}}", "cancel").')
    _check_placeholders("group", name)
    if policy not in get_args(Policy):
        raise ValueError(f'group policy has value {policy!r}. Write "cancel", "queue" or "newest".')
    return Group(name, policy)


def rate(runs: int, per: Duration, *, key: str = "") -> Rate:
    """Let so many runs begin in any `per` ("1 hour", seconds, timedelta); the others wait, in their order.

    Runs of one `key` count together, without one those of this pipeline; `{branch}` and the like are filled in.
    """
    if type(runs) is not int or not 1 <= runs <= MOST_RUNS:
        raise ValueError(f"rate allows {runs!r} runs. Write a whole number from 1 to {MOST_RUNS:,}.")
    seconds = seconds_of(per, "rate per")
    if seconds <= 0:
        raise ValueError(f'rate has per {per!r}. Write a time above 0, like "1 hour".')
    if not isinstance(key, str) or len(key) > LONGEST_KEY:
        raise ValueError(
            f'rate has key {str(key)[:40]!r}. Write up to {LONGEST_KEY} characters, like "ship-{{branch}}".'
        )
    _check_placeholders("rate key", key)
    return Rate(key, runs, seconds)


def check_priority(value: object, what: str = "priority") -> int:
    """Return a priority. Raises ValueError."""
    if type(value) is not int or not -PRIORITY <= value <= PRIORITY:
        raise ValueError(f"{what} has value {value!r}. Write a whole number from -{PRIORITY} to {PRIORITY}.")
    return value


def _check_placeholders(what: str, name: str) -> None:
    unknown = set(re.findall(r"\{([^}]*)\}", name)) - {"branch", "tag", "kind", "sha"}
    if unknown:
        raise ValueError(
            f"{what} {name!r} uses {sorted(unknown)}. Known are {{branch}}, {{tag}}, {{kind}} and {{sha}}."
        )
