"""Usage: what runs took, and what is kept of them."""

from typing import Any

from fastapi import APIRouter

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["usage"])


@router.get("/tenants/{tenant}/usage")
def tell_usage(caller: Caller, tenant: str) -> dict[str, Any]:
    """Tell seconds of steps by repository and month (UTC) in which their runs ended, and bytes on disk by kind now.

    `-` stands for the tenant's plans. Runs that have not ended are not counted yet.
    """
    usage = caller.services.usage
    return {
        "months": [answers.plain(one) for one in usage.months(caller.actor, tenant)],
        "disk": [answers.plain(one) for one in usage.disk(caller.actor, tenant)],
    }
