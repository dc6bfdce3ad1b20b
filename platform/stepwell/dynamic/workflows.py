"""Creating runs and holding on to them, within the bounds of one metadata."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.dynamic import approving
from stepwell.dynamic.following import follow
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.named_step import key_of
from stepwell.engine.order import Order
from stepwell.engine.seams import Judge
from stepwell.engine.specs import Note, Restart, RunRef, RunSpec, checked_params
from stepwell.engine.state import RunState
from stepwell.engine.where_ended import where_ended
from stepwell.errors import Conflict, Invalid, NotFound

PAGE = 100
"""Rows read at a time."""
Status = RunState
"""State of a run with its steps: a copy that does not change."""


@dataclass(frozen=True)
class Start:
    """One run of a batch; see Workflows.create."""

    params: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    code: str | None = None
    entry: str = ""
    order: Order | None = None


class Workflows:
    """Runs that carry certain metadata: creates them, and finds no others."""

    def __init__(self, engine: Engine, metadata: Mapping[str, Any], tenant: str, scope: str) -> None:
        self.tenant = tenant
        self.scope = scope
        self._engine = engine
        self._metadata = _as_kept(metadata)

    async def create(
        self, params: Mapping[str, Any] | None = None, *, id: str | None = None,
        metadata: Mapping[str, Any] | None = None, title: str = "", code: str | None = None, entry: str = "",
        order: Order | None = None,
    ) -> "Handle":  # fmt: skip
        """Create a run and have it start.

        `id` twice is one run. `metadata` adds to the bound one and cannot change it. `code` is the digest to pin; by
        default the loader is asked now, unless the run is there. `order` says when it may begin: its group, rate, start
        and priority. Raises Conflict (the id is another's), Invalid, TryLater.
        """
        merged, params = self._merged(metadata or {}), checked_params(params)
        if id is None:
            id = uuid.uuid4().hex
        elif (known := await self._engine.glance(_checked_id(id))) is not None:
            return await self._known(id, known.number)
        if code is None:
            loaded = await self._engine.load(merged)
            code, entry = loaded.digest, entry or loaded.entry
        spec = RunSpec(id, self.tenant, self.scope, title or entry, merged, params, code, entry, order=order)
        return await self._made(await self._engine.create(spec))

    async def _made(self, ref: RunRef) -> "Handle":
        return Handle(self._engine, ref.id, ref.number, True) if ref.created else await self._known(ref.id, ref.number)

    async def _known(self, id: str, number: int) -> "Handle":
        """Give a run that is there already. Raises Conflict when it is another's."""
        if not await self._owns(id):
            raise Conflict(f"The id {id!r} is taken. Choose another one.")
        return Handle(self._engine, id, number, created=False)

    async def restart(
        self, run: str, step: str = "", *, id: str | None = None, metadata: Mapping[str, Any] | None = None,
        title: str = "",
    ) -> "Handle":  # fmt: skip
        """Create a run that adopts what an ended one did before it asked for a step, and goes on from there.

        `step` is a key, or a name that only one step has; without it from where the run ended, or from its beginning
        when no step ended it. `metadata` may lead to other code, never to another owner. What was adopted is not run
        again; with other code people are asked again. It stands in the same group. `id` twice is one run. Raises
        NotFound, Invalid, Conflict, TryLater.
        """
        state = await (await self.get(run)).status()
        step = key_of(state, step) if step else _where_ended(state)
        changed = self._merged({**state.metadata, **(metadata or {})})
        loaded = await self._engine.load(changed)
        entry = state.entry if loaded.digest == state.code else loaded.entry
        ref = await self._engine.create(
            RunSpec(
                id or uuid.uuid4().hex, self.tenant, self.scope, title or state.title, changed, state.params,
                loaded.digest, entry, restart=Restart(run, step) if step else None, order=state.order.again(),
            )
        )  # fmt: skip
        return await self._made(ref)

    async def create_batch(self, starts: Iterable[Start]) -> list["Handle"]:
        """Create many runs; they share transactions. Fails with the first that fails, others may exist then."""
        return list(await asyncio.gather(*(self._start(one) for one in starts)))

    async def _start(self, one: Start) -> "Handle":
        if not isinstance(one, Start):
            raise Invalid(f"A start of a batch has value {str(one)[:80]!r}. Give Start(params, …).")
        return await self.create(
            one.params, id=one.id, metadata=one.metadata, title=one.title, code=one.code, entry=one.entry,
            order=one.order,
        )  # fmt: skip

    async def get(self, id: str) -> "Handle":
        """Find a run. Raises NotFound for one that is not there and for one of others alike."""
        state = await self._engine.get(id)
        if state is None or not self._mine(state.tenant, state.metadata):
            raise NotFound(f"There is no run {id!r}.")
        return Handle(self._engine, id, state.number, created=False)

    async def runs(self, *, before: int | None = None, limit: int = 100) -> list["Handle"]:
        """Give the runs of this metadata in its scope, the newest first; `before` is a number to go on below."""
        found: list[Handle] = []
        while len(found) < limit:
            page = await self._engine.numbered(self.scope, before, PAGE)
            mine = (row for row in page if self._mine(row.tenant, row.metadata))
            found += [Handle(self._engine, row.id, row.number, created=False) for row in mine]
            if len(page) < PAGE:
                break
            before = page[-1].number
        return found[:limit]

    async def _owns(self, id: str) -> bool:
        state = await self._engine.get(id)
        return state is not None and self._mine(state.tenant, state.metadata)

    def _mine(self, tenant: str, metadata: Mapping[str, Any]) -> bool:
        if tenant != self.tenant:
            return False
        return all(name in metadata and metadata[name] == value for name, value in self._metadata.items())

    def _merged(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        added = _as_kept(metadata)
        for name, value in added.items():
            if name in self._metadata and self._metadata[name] != value:
                raise Invalid(f"Metadata {name!r} has value {value!r}, but is bound to {self._metadata[name]!r}.")
        return {**self._metadata, **added}


class Handle:
    """One run."""

    def __init__(self, engine: Engine, id: str, number: int, created: bool) -> None:
        self.id = id
        self.number = number
        self.created = created
        self._engine = engine

    async def status(self) -> Status:
        """Its state now."""
        state = await self._engine.get(self.id)
        if state is None:
            raise NotFound(f"There is no run {self.id!r}.")
        return state

    async def finished(self) -> Status:
        """Wait until it has ended. Nothing is kept in memory for a run that waits but this call itself.

        Raises Unavailable when the engine stops before.
        """
        ended = asyncio.Event()

        def heed(news: Entry | Note, state: RunState | None) -> None:
            if news.run == self.id and news.type == "ended":
                ended.set()

        unsubscribe = self._engine.subscribe(heed)
        try:
            state = await self.status()
            while not state.finished:
                await self._engine.hear(ended)
                state = await self.status()
            return state
        finally:
            unsubscribe()

    async def journal(self, after: int = 0) -> list[Entry]:
        """Everything that happened to it, from the entry behind the number `after`."""
        return await self._engine.journal(self.id, after)

    def subscribe(self, after: int = 0) -> AsyncGenerator[Entry, None]:
        """Give the entries behind the number `after`, first those on disk, then each as it comes; ends with the run.

        A reader that was away goes on with the number of the last entry it has. Raises NotFound for no run, Unavailable
        when the engine stops before.
        """
        return follow(self._engine, self.id, after)

    async def send_event(self, type: str, payload: Any = None, id: str | None = None) -> None:
        """Deliver an event; once per `id`. Raises Conflict when the run has ended."""
        await self._engine.send_event(self.id, type, payload, id)

    async def approve(
        self, step: str, by: str, comment: str = "", fields: Mapping[str, Any] | None = None
    ) -> Literal["approved", "rejected"] | None:
        """Say yes to a step.approval (its key, or its name); give the verdict, None while more people are needed.

        The approval's own `reviewers`, `count` and `fields` are the rules. Raises Denied, Invalid, Conflict, NotFound.
        """
        return await self._decide(step, by, True, comment, fields or {})

    async def reject(self, step: str, by: str, comment: str = "") -> Literal["approved", "rejected"] | None:
        """Say no to a step.approval, likewise: one is enough."""
        return await self._decide(step, by, False, comment, {})

    async def _decide(
        self, said: str, by: str, approve: bool, comment: str, fields: Mapping[str, Any]
    ) -> Literal["approved", "rejected"] | None:
        state = await self.status()
        step = state.steps[key_of(state, said)]
        decision = approving.decision_of(step, by, approve, comment, fields)
        return await self._engine.decide(self.id, step.key, decision, approving.verdict)

    async def decide(
        self, key: str, decision: Mapping[str, Any], judge: Judge
    ) -> Literal["approved", "rejected"] | None:
        """Decide on a step that waits for people, by rules of your own; see Engine.decide."""
        return await self._engine.decide(self.id, key, approving.checked(decision), judge)

    async def restart(
        self, step: str = "", *, id: str | None = None, metadata: Mapping[str, Any] | None = None, title: str = ""
    ) -> "Handle":
        """Create a run that goes on instead of this one, which has ended; see Workflows.restart."""
        state = await self.status()
        owner = {name: state.metadata[name] for name in ("tenant", "name") if name in state.metadata}
        workflows = Workflows(self._engine, owner, state.tenant, state.scope)
        return await workflows.restart(self.id, step, id=id, metadata=metadata, title=title)

    async def cancel(self, by: str, reason: str = "", undo: bool = False) -> None:
        """Cancel it; with `undo` its passed steps are undone."""
        await self._engine.cancel(self.id, by, reason, undo)

    async def terminate(self, by: str, reason: str = "") -> None:
        """End it at once, without a word to its code."""
        await self._engine.terminate(self.id, by, reason)

    async def pause(self, by: str, reason: str = "") -> None:
        """Let nothing begin in it until it is resumed. Raises Conflict when it is paused or over."""
        await self._engine.pause(self.id, by, reason)

    async def resume(self, by: str) -> None:
        """Have it go on. Raises Conflict when it is not paused."""
        await self._engine.resume(self.id, by)


def _where_ended(state: RunState) -> str:
    if not state.finished:
        raise Conflict(f"Run #{state.number} is {state.state}. Cancel or terminate it first.")
    return where_ended(state)


def bind(
    engine: Engine, metadata: Mapping[str, Any], *, tenant: str | None = None, scope: str | None = None
) -> Workflows:
    """Give the workflows of this metadata.

    `tenant` is `metadata["tenant"]` by default, or "default" where metadata name none; `scope`, in which runs are
    numbered, is `<tenant>/<name>` of `metadata["name"]` (which may begin with the tenant itself) or the tenant. Raises
    Invalid.
    """
    if not isinstance(metadata, Mapping):
        raise Invalid(f"Metadata have value {metadata!r}. Give names and values, like {{'tenant': 'acme'}}.")
    owner = metadata.get("tenant", "default") if tenant is None else tenant
    if not isinstance(owner, str) or not owner:
        raise Invalid(f"The tenant has value {owner!r}. Give a text, or leave it out.")
    if scope is None:
        name = str(metadata.get("name") or owner)
        scope = name if name == owner or name.startswith(f"{owner}/") else f"{owner}/{name}"
    return Workflows(engine, metadata, owner, scope)


def _as_kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as they come back from disk, so that who created a run also finds it. Raises Invalid."""
    try:
        kept = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Invalid(f"Metadata cannot be kept: {error}. Give texts, numbers, lists and objects of them.") from error
    if not isinstance(kept, dict):
        raise Invalid(f"Metadata have value {metadata!r}. Give names and values.")
    return kept


def _checked_id(id: Any) -> str:
    if not isinstance(id, str) or not id:
        raise Invalid(f"id has value {id!r}. Give a text, the same for the same run, or leave it out.")
    return id
