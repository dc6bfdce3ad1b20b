"""The order that a pipeline declares becomes the place of a run among others: its group, its rate limit, its priority.

Names are their repository's own: two pipelines that name the same group or key share it. The engine keeps the order
(see engine/admission.py); a run that another one calls has neither group nor rate, or it would wait for its caller.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from stepwell.authoring.order import Rate
from stepwell.ci.triggers import Declared
from stepwell.engine.order import Order

LONGEST_NAME = 200
"""Longer names end in a hash: branches may be as long as their people like."""


def order_of(pipeline: Declared, cause: Mapping[str, Any]) -> Order:
    """Return the place of a run that a pipeline asks for; `cause` fills in branch, tag, kind and sha."""
    group, rate = pipeline.concurrency, pipeline.rate_limit
    limit = Rate(_filled(str(rate["key"] or pipeline.name), cause), rate["runs"], rate["seconds"]) if rate else None
    if group is None:
        return Order(rate=limit, priority=pipeline.priority)
    return Order(_filled(str(group["group"]), cause), group["policy"], limit, priority=pipeline.priority)


def _filled(name: str, cause: Mapping[str, Any]) -> str:
    for field in ("branch", "tag", "kind", "sha"):
        name = name.replace(f"{{{field}}}", str(cause.get(field) or ""))
    name = name.encode(errors="backslashreplace").decode()
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name
