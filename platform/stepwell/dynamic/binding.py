"""`self.env.workflows`: code creates other runs of its tenant, looks at them and sends them events.

What code may decide is the name, the parameters and which pipeline of its own code runs. Everything else is the
caller's, word for word: tenant, scope, metadata and the digest of the code. Ids are derived from the call, so a call
that is made again after a crash finds the run it has created, and no other run can be named into its place.
"""

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from stepwell.engine.children import Child
from stepwell.engine.engine import Engine
from stepwell.engine.seams import BindingCall
from stepwell.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from stepwell.store.journal import Glance

NAME_CHARACTERS = 200


class WorkflowsBinding:
    """A Binding, to be offered to the engine as `workflows`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls: dict[str, Callable[..., Awaitable[Any]]] = {
            "create": self._create, "get": self._get, "status": self._status, "send_event": self._send_event,
        }  # fmt: skip

    async def call(self, call: BindingCall) -> Any:
        """Make one of the calls. Raises Invalid for arguments that do not fit."""
        handler = self._calls.get(call.name)
        if handler is None:
            known = ", ".join(self._calls)
            raise Invalid(f"self.env.workflows has no call {call.name!r}. Known are: {known}.")
        try:
            bound = inspect.signature(handler).bind(call, *call.args, **call.kwargs)
        except TypeError as error:
            raise Invalid(f"self.env.workflows.{call.name} was called wrongly: {error}.") from error
        return await handler(*bound.args, **bound.kwargs)

    async def _create(self, call: BindingCall, /, name: Any, params: Any = None, *, pipeline: Any = None) -> Any:
        entry = _entry(call.run.entry, pipeline)
        params = {**call.run.params, "kind": "workflow", "payload": params}
        ref = await self._engine.create_child(call.run, Child(id_of(call), call.key, entry, params, _name(name)))
        return {"id": ref.id, "number": ref.number}

    async def _get(self, call: BindingCall, /, id: Any = None) -> Any:
        """Say who a run is; without an id, this very run."""
        found = await self._own(call, call.run.id if id is None else id)
        return {"id": found.id, "number": found.number, "scope": found.scope, "title": found.title}

    async def _status(self, call: BindingCall, /, id: Any) -> Any:
        found = await self._own(call, id)
        last = (await self._engine.journal(found.id, found.seq - 1))[:1]
        end = last[0].data if last and last[0].type == "ended" else {}
        error = end.get("error") or None
        return {
            "id": found.id, "number": found.number, "state": found.state, "reason": found.reason,
            "result": end.get("result"), "error": error and {name: error[name] for name in ("type", "message")},
        }  # fmt: skip

    async def _send_event(self, call: BindingCall, /, id: Any, type: Any, payload: Any = None) -> None:
        event = id_of(call)
        try:
            await self._engine.send_event((await self._own(call, id)).id, type, payload, event)
        except Conflict:
            known = await self._engine.get(id)
            if known is None or event not in known.event_ids:  # else it arrived before a crash, and ended the run
                raise

    async def _own(self, call: BindingCall, id: Any) -> "Glance":
        """Find a run of the caller's tenant; one of others is as if it were not there."""
        found = await self._engine.glance(id) if isinstance(id, str) else None
        if found is None or found.tenant != call.run.tenant:
            raise NotFound(f"There is no run {str(id)[:80]!r}.")
        return found


def id_of(call: BindingCall) -> str:
    """Derive the id of what a call makes, a run or an event: the same when it is made again."""
    cause = "\0".join(("self.env", call.run.id, call.key, repr(call.asked_at)))
    return hashlib.sha256(cause.encode("utf-8", "replace")).hexdigest()[:32]


def _name(name: Any) -> str:
    if isinstance(name, str) and name.strip() and len(name) <= NAME_CHARACTERS and name.isprintable():
        return name
    raise Invalid(f"A run has the name {str(name)[:80]!r}. Give a text of 1 to {NAME_CHARACTERS} printable characters.")


def _entry(entry: str, pipeline: Any) -> str:
    if pipeline is None:
        return entry
    if isinstance(pipeline, str) and re.fullmatch(r"[A-Za-z_]\w{0,99}", pipeline):
        return f"{entry.partition(':')[0]}:{pipeline}"
    raise Invalid(f"pipeline has value {str(pipeline)[:80]!r}. Give the name of a class beside the calling one.")
