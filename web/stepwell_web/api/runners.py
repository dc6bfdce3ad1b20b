"""Runners: what runs where now."""

from typing import Any

from fastapi import APIRouter

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["runners"])


@router.get("/tenants/{tenant}/runners")
def list_runners(caller: Caller, tenant: str) -> dict[str, Any]:
    """List the runners that execute a tenant's runs: its work and what waits, capacity, what stands ready, abilities.

    How much goes on for others (`others`) and the details of abilities are for admins of the server only.
    """
    return {"items": [answers.plain(one) for one in caller.services.runners.of(caller.actor, tenant)]}
