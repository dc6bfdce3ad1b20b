"""Quotas: how many runs may go on at the same time."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["quotas"])


class NewQuota(BaseModel):
    """A quota to set."""

    repository: str = Field("", description="name of a repository; empty for the whole tenant")
    runs: int | None = Field(description="runs that may go on at the same time; null for the server's default")


@router.get("/tenants/{tenant}/quotas")
def list_quotas(caller: Caller, tenant: str) -> dict[str, Any]:
    """List the quotas of a tenant and its repositories; who has none has the server's defaults."""
    return {"items": [answers.plain(quota) for quota in caller.services.tenants.quotas.list(caller.actor, tenant)]}


@router.put("/tenants/{tenant}/quotas", status_code=204)
def put_quota(caller: Caller, tenant: str, body: NewQuota) -> None:
    """Set a quota. A tenant's is for admins of the server, a repository's for its maintainers."""
    caller.services.tenants.quotas.put(caller.actor, tenant, body.runs, body.repository)
