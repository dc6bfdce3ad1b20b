"""The installation, for who administers it."""

from typing import Any

from fastapi import APIRouter

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["installation"])


@router.get("/admin")
def get_installation(caller: Caller) -> dict[str, Any]:
    """Tell health, what goes on, tenants in numbers, disk and settings, each with the time at which it was looked at.

    For admins of the server.
    """
    return answers.plain(caller.services.installation.of(caller.actor))
