"""Who may use the API: a bearer token, or the session of a browser on our own pages."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from stepwell_web.visits import Visit, any_visit


def caller(request: Request) -> Visit:
    """Take a request of somebody known."""
    found = any_visit(request)
    if not found.actor.signed_in:
        raise HTTPException(401, "Send a token that is valid: 'Authorization: Bearer sw_…'.")
    return found


Caller = Annotated[Visit, Depends(caller)]
