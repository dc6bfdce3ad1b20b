"""Who you are, and your tokens."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["people"])


class NewToken(BaseModel):
    """A token to issue; it never allows more than you may yourself."""

    name: str
    scopes: list[str] = Field(
        ["read", "write", "approve"],
        description="read, write, approve, manage, own; and what plans sent with it are given: secret:NAME of the "
        "tenant, secret:REPOSITORY/NAME, environment:REPOSITORY/NAME",
    )
    tenant: str = Field("", description="only in this tenant")
    repository: str = Field("", description="only in this repository: tenant/name, or a name in `tenant`")
    days: int = Field(90, ge=1, le=3650)


@router.get("/me")
@router.get("/whoami", include_in_schema=False)
def whoami(caller: Caller) -> dict[str, Any]:
    """Say who you are and what you may do."""
    actor = caller.actor
    return {
        "tenants": [{"name": name, "role": actor.roles[name]} for name in actor.tenants],
        "name": actor.name, "roles": dict(actor.roles), "scopes": sorted(actor.scopes), "lends": sorted(actor.lends),
        "admin": actor.admin,
        "via": actor.via, "repository": actor.repository,
    }  # fmt: skip


@router.get("/tenants")
def list_tenants(caller: Caller) -> dict[str, Any]:
    """List your tenants."""
    return {"items": [answers.plain(t) for t in caller.services.tenants.list(caller.actor)]}


@router.get("/tokens")
def list_tokens(caller: Caller) -> dict[str, Any]:
    """List your tokens."""
    return {"items": [answers.plain(t) for t in caller.services.tenants.tokens.list(caller.actor)]}


@router.post("/tokens", status_code=201)
def issue_token(caller: Caller, body: NewToken) -> dict[str, Any]:
    """Issue a token; `secret` is shown this once."""
    tenant, slash, name = body.repository.rpartition("/")
    issued = caller.services.tenants.tokens.issue(
        caller.actor, body.name, scopes=tuple(body.scopes), tenant=tenant if slash else body.tenant, repository=name,
        days=body.days,
    )  # fmt: skip
    return {"token": answers.plain(issued.token), "secret": issued.secret}


@router.delete("/tokens/{id}", status_code=204)
def revoke_token(caller: Caller, id: str) -> None:
    """Revoke a token."""
    caller.services.tenants.tokens.revoke(caller.actor, id)
