"""A head start for a run that wakes with a long journal: its isolate boots, and replays what it is sent, while the
engine still reads and folds the same journal for itself.

Without it the one waits for the other, and of two processors one idles. It changes nothing of the order that keeps
promises: only a run that rests, and whose code has dealt with all of its journal, is given one, so the replay ends
where an earlier turn stood; and the isolate neither begins nor is heard before its turn has the lease and says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from stepwell.engine.garbage import collection_paused
from stepwell.engine.lines import Lines
from stepwell.engine.live import Live, absorb_part
from stepwell.engine.loading import check_replay, load_code
from stepwell.engine.memory import Memory
from stepwell.engine.parts import Parts
from stepwell.engine.seams import Code, IsolateChannel, IsolateSpec
from stepwell.engine.state import RunState
from stepwell.engine.telling import Columns, Plain, plain_of
from stepwell.store.journal import Part
from stepwell.store.json_text import encode

LONG = 500
"""Entries from which on a journal is worth it."""
PART = 500
"""Entries that are read, sent or folded before others get the loop."""
FIRST_PART = 100
"""The same while the isolate is being opened, which needs the loop several times."""

_Read = tuple[Part, list[Plain | None]]


class HeadStart:
    """An isolate on its way, and what it is told of the journal."""

    def __init__(self, live: Live, parts: Parts) -> None:
        self.sent = 0  # seq of the last entry that it was told
        self.lines: Lines | None = None
        self._live = live
        self._parts = parts
        self._kept: list[bytes] = []  # until it is there
        self._channel: IsolateChannel | None = None
        self._opened: asyncio.Future[tuple[Code, IsolateChannel]] = asyncio.get_running_loop().create_future()
        self._over = False

    async def open(self) -> None:
        """Load the code and boot the isolate. What goes wrong is raised to whoever waits in `opened`."""
        try:
            check_replay(self._live)
            code = await load_code(self._live, self._parts)
            channel = await self._parts.isolates.open(IsolateSpec(self._live.state.tenant, "turn", code))
        except Exception as error:
            self._opened.set_exception(error)
            self._opened.exception()  # looked at: nobody may want this isolate any more
            return
        except asyncio.CancelledError:
            self._opened.cancel()
            raise
        self._channel, self.lines = channel, Lines(channel.sock, self._parts.limits)
        if self._over:
            await self._end()
            return
        head = {**head_of(self._live, code, self._parts), "early": True}
        self.lines.send(b"".join([encode(head).encode(), b"\n", *self._kept]), bounded=False)
        self._kept.clear()
        self._opened.set_result((code, channel))

    def tell(self, line: bytes) -> None:
        """Send a line, as soon as there is somebody to read it."""
        if self.lines is None:
            self._kept.append(line)
        else:
            self.lines.send(line, bounded=False)

    async def opened(self) -> tuple[Code, IsolateChannel]:
        """Wait for the isolate. Raises what `load_code` and `Isolates.open` raise."""
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        """End an isolate that no turn has taken over."""
        self._over = True
        self._kept.clear()
        if self._channel is not None:
            await self._end()

    async def _end(self) -> None:
        assert self._channel is not None
        if self.lines is not None:
            self.lines.close()
        self._channel.kill()
        await self._channel.ended()


class HeadStarts:
    """Gives them. `spawn` runs something beside."""

    def __init__(self, parts: Parts, memory: Memory, spawn: Callable[[Coroutine[Any, Any, None]], Any]) -> None:
        self._parts = parts
        self._memory = memory
        self._spawn = spawn

    @asynccontextmanager
    async def of(self, run_id: str) -> AsyncIterator[None]:
        """Give the run one while it is told something that wakes its code, if it is worth it; it is in memory then.

        Raises Unavailable when its journal cannot be read.
        """
        live = None if run_id in self._memory else self._candidate(run_id)
        if live is None:
            yield
            return
        self._parts.room.ask(live.wish(turn=True))
        live.head_start = start = HeadStart(live, self._parts)
        self._spawn(start.open())
        try:
            await self._load(live, start)
            yield
        finally:
            if live.head_start is not None:  # no turn has taken it over
                self._drop(live, start)
            self._give_back(run_id)

    def offers(self, run_id: str) -> bool:
        """Say whether `of` would give the run one."""
        return run_id not in self._memory and self._candidate(run_id) is not None

    def _drop(self, live: Live, start: HeadStart) -> None:
        live.head_start = live.history = None  # the turn, if there is one, tells all of the journal
        self._spawn(start.close())

    def _give_back(self, run_id: str) -> None:
        """Give back the turn that nobody plays."""
        live, room = self._memory.known(run_id), self._parts.room
        if live is not None and live.turn is None:
            room.turn_over(run_id)
        elif live is None and not room.waits(run_id):
            room.leave(run_id)

    def _candidate(self, run_id: str) -> Live | None:
        """Give the run with its first entry, if it rests, has a long journal and there is room for its code."""
        journal = self._parts.journal
        standing = journal.standing(run_id)
        if standing is None or standing.seq < LONG or standing.state != "waiting" or standing.awake:
            return None
        live = Live(RunState(run_id), standing.lease, standing.lease, standing.played)
        first = self._read(run_id, 0, 1)
        if first is None:
            return None
        absorb_part(live, *first)
        return live if self._parts.room.offers(live.wish(turn=True)) else None

    async def _load(self, live: Live, start: HeadStart) -> None:
        journal, run = self._parts.journal, live.id
        standing = journal.standing(run)
        for part, plain in await self._tell(run, start):
            with collection_paused():
                absorb_part(live, part, plain)
            await asyncio.sleep(0)
        if run not in self._memory and journal.standing(run) == standing:  # nobody was faster
            live.history = None if live.head_start is None else []
            self._memory.keep_loaded(live)

    async def _tell(self, run: str, start: HeadStart) -> list[_Read]:
        """Read the journal and pass it on; give what was read but for the first entry, which is known."""
        columns, read = Columns(), list[_Read]()
        one = self._read(run, 0, 1)
        while one is not None:
            start.tell(columns.of(*one))
            read.append(one)
            await asyncio.sleep(0)
            one = self._read(run, one[0].seqs[-1], PART if start.lines is not None else FIRST_PART)
        start.sent = columns.last
        start.tell(b"[]\n")
        return read[1:]

    def _read(self, run: str, after: int, limit: int) -> _Read | None:
        with collection_paused():
            part = self._parts.journal.part(run, after, limit)
            return None if part is None else (part, plain_of(part))


def head_of(live: Live, code: Code, parts: Parts) -> dict[str, Any]:
    """Give what an isolate is told first: the code, and what the run was begun with."""
    state = live.state
    # Runs of before the third rules have seen this name, and may have made something of it: text of a traceback.
    root = code.root or ("" if state.replay >= 3 else ".stepwell")
    return {
        "mode": "turn", "root": root, "files": dict(code.files), "entry": state.entry or code.entry,
        "run": state.id, "params": state.params, "stall": parts.limits.stall, "grace": parts.limits.grace,
        "number": state.known_number, "seed": state.seed, "offset": state.offset, "scope": state.scope,
        "tenant": state.tenant, "played": live.played, "replay": state.replay,
        "result_bytes": parts.blobs.most_bytes, "announce": bool(state.failed_turns),
    }  # fmt: skip
