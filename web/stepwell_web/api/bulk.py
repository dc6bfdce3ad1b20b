"""The same for many runs of a tenant, and its dead runs."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stepwell.ci.bulk import Wanted
from stepwell_web.api.access import Caller

router = APIRouter(tags=["runs"])


class Many(BaseModel):
    """Which runs are meant, and what goes with the action; what is left out does not narrow."""

    repository: str = ""
    states: list[str] = Field([], description="by default all to which the action applies, but not passed ones")
    pipeline: str = ""
    branch: str = ""
    created_until: float | None = Field(None, description="seconds since the epoch")
    reason: str = ""
    undo: bool = Field(False, description="with cancel: run the undo functions of the steps that have passed")
    step: str = Field("", description="with restart: a step, by key or name; left out: where each run came to its end")
    key: str = Field("", max_length=200, description="with restart: names it, so that no run is restarted twice")
    cursor: str | None = Field(None, description="`next` of the answer before")


@router.post("/tenants/{tenant}/bulk/{action}")
def sweep(caller: Caller, *, tenant: str, action: str, body: Many | None = None) -> dict[str, Any]:
    """Pause, resume, cancel, terminate or restart the next runs that are meant: `changed`, `refused` with the reason.

    Send it again with `next` as `cursor` until that is null. A restart needs a `key`, the same for all.
    """
    asked = body or Many()
    wanted = Wanted(
        asked.repository, frozenset(asked.states), asked.pipeline, asked.branch, asked.created_until, asked.reason,
        asked.undo, asked.step, asked.key,
    )  # fmt: skip
    return asdict(caller.services.bulk.sweep(caller.actor, action, tenant, wanted, asked.cursor))


@router.get("/tenants/{tenant}/dead-runs")
def dead(caller: Caller, *, tenant: str, repository: str = "", cursor: str | None = None) -> dict[str, Any]:
    """List runs that will not go on by themselves, or were ended for what they are: `death`, `reason`, `since`."""
    found = caller.services.bulk.dead(caller.actor, tenant, repository, cursor)
    return {"items": [asdict(one) for one in found.runs], "next": found.next}
