"""Concurrency groups of pipelines: `group("ship-{branch}", "cancel")` becomes the place of a run among others.

A group is its repository's own: two pipelines that name the same one share it. The engine keeps the order (see
engine/admission.py); a run that another one calls has no group, or it would wait for its caller.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from stepwell.engine.order import NO_ORDER, Order

LONGEST_NAME = 200
"""Longer names end in a hash: branches may be as long as their people like."""


def order_of(declared: Mapping[str, Any] | None, cause: Mapping[str, Any]) -> Order:
    """Return the place of a run that a declared group asks for; `cause` fills in branch, tag, kind and sha."""
    if declared is None:
        return NO_ORDER
    name = str(declared["group"])
    for field in ("branch", "tag", "kind", "sha"):
        name = name.replace(f"{{{field}}}", str(cause.get(field) or ""))
    name = name.encode(errors="backslashreplace").decode()
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return Order(name, declared["policy"])
