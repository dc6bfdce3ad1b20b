"""Runs that a pipeline creates by `self.env.workflows`: what CI says of them beside what they have of their creator."""

from collections.abc import Mapping
from typing import Any

from stepwell.engine.fold import RunState


def metadata_of_child(caller: RunState, entry: str) -> Mapping[str, Any]:
    """Return what differs: a child has its own pipeline, and stands in no concurrency group of its creator."""
    pipeline = entry.partition(":")[2] or str(caller.metadata.get("pipeline") or "")
    return {"parent": caller.id, "kind": "workflow", "pipeline": pipeline, "group": ""}
