"""Concurrency groups: `group("ship-{branch}", "cancel")` has a new run cancel the older ones of its group.

The other policies would hold a run back before it begins, which this version does not do: a pipeline that asks for one
is refused, rather than run beside the runs it wanted to wait for.
"""

from collections.abc import Mapping
from typing import Any

EXECUTED = frozenset({"cancel"})


def group_of(declared: Mapping[str, Any] | None, cause: Mapping[str, Any]) -> str:
    """Return the name of a run's group, "" without one; `cause` fills in branch, tag, kind and sha."""
    if declared is None:
        return ""
    name = str(declared["group"])
    for field in ("branch", "tag", "kind", "sha"):
        name = name.replace(f"{{{field}}}", str(cause.get(field) or ""))
    return name


def refusal(pipeline: str, declared: Mapping[str, Any] | None) -> str:
    """Say why the declared policy is not executed; "" when it is."""
    if declared is None or declared["policy"] in EXECUTED:
        return ""
    return (
        f"{pipeline}.concurrency has the policy {declared['policy']!r}, which is not executed by this version of "
        'Stepwell. Use "cancel", or leave concurrency out.'
    )
