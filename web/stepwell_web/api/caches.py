"""Caches of repositories."""

from typing import Any

from fastapi import APIRouter

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["caches"])


@router.get("/repos/{tenant}/{name}/caches")
def list_caches(caller: Caller, tenant: str, name: str) -> dict[str, Any]:
    """List what steps have saved with `cache=`, the most recently used first; keys may share the content `digest`."""
    return {"items": [answers.plain(one) for one in caller.services.caches.list(caller.actor, tenant, name)]}


@router.delete("/repos/{tenant}/{name}/caches")
def remove_caches(caller: Caller, tenant: str, name: str, prefix: str = "", branch: str = "") -> dict[str, Any]:
    """Remove the keys that begin with `prefix`, or all; with `branch` only those of that branch. For maintainers."""
    return {"removed": caller.services.caches.remove(caller.actor, tenant, name, prefix, branch)}
