"""A run's order among others: its group, its rate, its start, its priority.

All of it stands in the run's `created` entry. Which runs are held, who is next and what a rate has used up follow from
the `created`, `admitted` and `ended` entries of the runs of a tenant and scope; the rows kept for it (store/queues)
only say it faster.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from stepwell.authoring.durations import LONGEST_SECONDS, Duration, seconds_of, spoken
from stepwell.authoring.order import MOST_RUNS, PRIORITY, Policy, Rate
from stepwell.engine.specs import check_text
from stepwell.errors import Invalid

__all__ = ["NO_ORDER", "Order", "Rate", "group_queue", "is_group", "order_of", "rate_queue", "reason_of"]


@dataclass(frozen=True)
class Order:
    """When a run may begin. Names are the tenant's and scope's own: equal ones of others never meet.

    Runs of one `group` never go on side by side, in the order in which they came. `policy` says what else an arriving
    run does: "queue" nothing; "newest" cancels those that wait; "cancel" cancels those that go on, too.
    `start_at` (seconds since the epoch) or `delay`: when it arrives. `priority`: within the tenant, larger is sooner.
    """

    group: str = ""
    policy: Policy = "queue"
    rate: Rate | None = None
    start_at: float | None = None
    delay: Duration | None = None
    priority: int = 0

    def checked(self, now: float) -> "Order":
        """Give the order as the journal keeps it, `delay` turned into `start_at`. Raises Invalid."""
        check_text("group", self.group)
        if self.policy not in get_args(Policy):
            raise Invalid(f'policy has value {str(self.policy)[:40]!r}. Use "cancel", "queue" or "newest".')
        if self.policy != "queue" and not self.group:
            raise Invalid(f"policy {self.policy!r} has no group. Name one, like Order('deploy', {self.policy!r}).")
        if type(self.priority) is not int or not -PRIORITY <= self.priority <= PRIORITY:
            raise Invalid(f"priority has value {self.priority!r}. Use a whole number from -{PRIORITY} to {PRIORITY}.")
        if self.rate is not None:
            _check_rate(self.rate)
        return replace(self, start_at=self._start(now), delay=None)

    def again(self) -> "Order":
        """Give the order of a run that repeats this one now: its start is over."""
        return replace(self, start_at=None, delay=None)

    def _start(self, now: float) -> float | None:
        if self.delay is not None:
            if self.start_at is not None:
                raise Invalid("A run has start_at and delay. Use one of them.")
            try:
                return now + seconds_of(self.delay, "delay")
            except (TypeError, ValueError) as error:
                raise Invalid(str(error)) from error
        at = self.start_at
        if at is not None and not (_is_number(at) and abs(at - now) <= LONGEST_SECONDS):
            raise Invalid(f"start_at has value {at!r}. Use seconds since the epoch, within ten years of now.")
        return at

    def as_json(self) -> dict[str, Any]:
        """Give what differs from the default; {} when nothing does."""
        told: dict[str, Any] = {}
        if self.group:
            told["group"] = {"name": self.group, "policy": self.policy}
        if self.rate is not None:
            told["rate"] = self.rate.as_json()
        if self.start_at is not None:
            told["start_at"] = self.start_at
        if self.priority:
            told["priority"] = self.priority
        return told

    @classmethod
    def of_json(cls, told: Mapping[str, Any] | None) -> "Order":
        """Read what `as_json` gave."""
        if not told:
            return NO_ORDER
        group, rate = told.get("group") or {}, told.get("rate")
        return cls(
            group.get("name", ""), group.get("policy", "queue"), Rate(**rate) if rate else None,
            told.get("start_at"), None, told.get("priority", 0),
        )  # fmt: skip


NO_ORDER = Order()


def order_of(value: object) -> Order:
    """Refuse what is no Order. Raises Invalid."""
    if not isinstance(value, Order):
        raise Invalid(f"order has value {str(value)[:80]!r}. Give an Order(…), like Order(group='deploy').")
    return value


def group_queue(tenant: str, scope: str, order: Order) -> str:
    """Name the queue of a run's group, "" without one."""
    return json.dumps(["group", tenant, scope, order.group]) if order.group else ""


def is_group(queue: str) -> bool:
    """Say whether this is the queue of a group."""
    return queue.startswith('["group"')


def rate_queue(tenant: str, scope: str, order: Order) -> str:
    """Name the queue before a run's rate, "" without one."""
    return json.dumps(["rate", tenant, scope, order.rate.key]) if order.rate is not None else ""


def reason_of(order: Order, ahead: int | None, now: float) -> str:
    """Say why a run with this order is held; `ahead` is the number of the first run of its group, None: itself."""
    if order.start_at is not None and order.start_at > now:
        return f"starts at {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(order.start_at))}"
    if ahead is not None:
        return f"waits for run #{ahead} in group {order.group}"
    if order.rate is not None:
        runs = "1 run" if order.rate.runs == 1 else f"{order.rate.runs} runs"
        return f"waits for its turn: at most {runs} of {order.rate.key} in {spoken(order.rate.seconds)}"
    return "is about to begin"


def _check_rate(rate: Rate) -> None:
    if not isinstance(rate, Rate):
        raise Invalid(f"rate has value {str(rate)[:80]!r}. Give a Rate(key, runs=…, seconds=…).")
    check_text("rate key", rate.key)
    if type(rate.runs) is not int or not 1 <= rate.runs <= MOST_RUNS:
        raise Invalid(f"rate {rate.key!r} allows {rate.runs!r} runs. Use a whole number from 1 to {MOST_RUNS:,}.")
    if not _is_number(rate.seconds) or not 0 < rate.seconds <= LONGEST_SECONDS:
        raise Invalid(f"rate {rate.key!r} counts {rate.seconds!r} seconds. Use a number above 0, at most ten years.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
