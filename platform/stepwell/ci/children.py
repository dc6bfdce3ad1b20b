"""Runs that a pipeline makes by `step.call` or `self.env.workflows`: in what they differ from their parent for CI."""

from collections.abc import Mapping
from typing import Any

from stepwell.engine.state import RunState


def metadata_of_child(parent: RunState, entry: str) -> Mapping[str, Any]:
    """Return what differs: a child has its own pipeline, repeats nothing and stands in no concurrency group."""
    pipeline = entry.partition(":")[2] or str(parent.metadata.get("pipeline") or "")
    return {"parent": parent.id, "kind": "workflow", "pipeline": pipeline, "group": "", "rerun_of": ""}
