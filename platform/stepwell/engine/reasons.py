"""Why a run stands as it does, in words for people."""

from collections.abc import Mapping
from typing import Any

from stepwell.authoring.failures import FAILED_STEPS
from stepwell.engine.state import RunState


def why_ordered(what: str, order: Mapping[str, Any]) -> str:
    """Say who has ordered it, and with which words."""
    said = f": {order['reason']}" if order.get("reason") else ""
    return f"{what} by {order.get('by')}{said}"


def why_failed(error: Mapping[str, Any]) -> str:
    """Say what ended it; what the code raised by itself begins with its type, as Python prints it."""
    kind, message = error["type"], str(error["message"])
    if not error.get("traceback") or kind in FAILED_STEPS:
        return message
    return f"{kind}: {message}" if message else str(kind)


def why_cancelled(state: RunState) -> str | None:
    """Say who cancelled it, if that is how it ended."""
    if state.final != "cancelled" or not state.cancel:
        return None
    return why_ordered("terminated" if state.cancel.get("now") else "cancelled", state.cancel)
