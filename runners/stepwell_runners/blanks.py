"""The blanks of the zygote in use: made when they are asked for, and some ahead while nothing else is to be done.

What a fork and its namespaces take, and the up to 10 ms for which a kernel with cgroups version 1 may hold up a process
on its way into one, is over before anybody asks. How many stand follows what was asked for lately (demand.py), as far
as memory allows. Refilling waits until no isolate has been asked for a moment, so a burst that empties the pool goes on
with isolates made from nothing, and no fork of ours gets into its way; what is too much is taken away in such moments
too, and in calm ones they rehearse: what a turn writes to is copied for them then. When nobody has asked for long, the
pool is given back: an idle server holds no isolate.

Rejected: blanks sealed for one tenant ahead (docs/decisions/blanks.md).
"""

import asyncio
import itertools
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from stepwell_runners.blank import Blank
from stepwell_runners.cgroups import Cgroup, Cgroups
from stepwell_runners.demand import QUIET_SECONDS, Demand
from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Gone, Refused, Reply
from stepwell_runners.spare_memory import affordable, available
from stepwell_runners.spec import Limits
from stepwell_runners.zygotes import Zygote, Zygotes

_log = logging.getLogger(__name__)

_CALM_SECONDS = 1.0  # without a question before more than the usual number are made: what was asked for goes on first
_LOOK_SECONDS = 15.0  # after which a pool that nobody asks may be too large
_USUAL = Limits()  # others are set when a blank is claimed


class Blanks:
    """Gives blanks, from the pool or new ones. Belongs to one event loop.

    The pool has as many as `demand` wants; what stands beyond the usual number takes no more than a share of memory.
    """

    def __init__(self, zygotes: Zygotes, cgroups: Cgroups, demand: Demand) -> None:
        self._zygotes = zygotes
        self._cgroups = cgroups
        self._demand = demand
        self._looking: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._movers = ThreadPoolExecutor(2, "cgroup")  # of its own: boots must not queue behind long work
        self._asked = time.monotonic()  # when a blank was last asked for
        self._changing: asyncio.Task[None] | None = None
        self._rehearsing: asyncio.Task[None] | None = None
        self._rehearse = True
        self._away: Blank | None = None  # out of the pool to rehearse
        zygotes.on_replace(self.refill)

    @property
    def standing(self) -> tuple[Blank, ...]:
        """Those that are ready, or will be when they have rehearsed."""
        zygote = self._zygotes.in_use
        return (*(zygote.blanks if zygote else ()), *((self._away,) if self._away else ()))

    @property
    def wanted(self) -> int:
        """How many should stand now."""
        wanted = self._demand.wanted()
        if wanted <= self._demand.least:
            return wanted
        memory = available(self._cgroups.parents.get("memory"))
        return max(self._demand.least, affordable(len(self.standing), wanted, memory))

    async def take(self, *, new: bool = False) -> Blank:
        """Give a blank of the zygote in use, whether it stands already or not. Raises Refused or Gone.

        `new`: one of the pool has just been found dead, which its neighbours may be too; throw them away and fork.
        """
        zygote = await self._zygotes.current()
        if new:
            zygote.drop_blanks()
        else:
            self._demand.ask()
        self.refill()
        while zygote.blanks:
            blank = zygote.blanks.popleft()
            if blank.untouched:
                return blank
            blank.discard()
        return self._fork(zygote)

    def refill(self) -> None:
        """Bring the pool to its size in the background, as soon as it has been quiet for a moment."""
        self._asked = time.monotonic()
        self._change()
        if self._demand.least and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    async def filled(self) -> None:
        """Wait until the pool has its size, or nothing more is done about it."""
        if self._changing is not None:
            await asyncio.wait({self._changing})

    async def rested(self) -> None:
        """Wait until all that stand have rehearsed, too."""
        if self._rehearsing is not None:
            await asyncio.wait({self._rehearsing})

    def _change(self) -> None:
        if self._demand.least and (self._changing is None or self._changing.done()):
            self._changing = asyncio.create_task(self._reach_size())
        if self._demand.least and (self._rehearsing is None or self._rehearsing.done()):
            self._rehearsing = asyncio.create_task(self._rehearse_all())

    def _look(self) -> None:
        """See whether less is wanted now; again and again as long as anything is."""
        self._looking = None
        self._change()
        if self.standing or self._demand.wanted():
            self._looking = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    async def stop(self) -> None:
        """End all blanks with their zygotes, and all isolates."""
        if self._looking is not None:
            self._looking.cancel()
        for task in (self._changing, self._rehearsing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        await self._zygotes.stop()
        self._movers.shutdown()

    async def _reach_size(self) -> None:
        while True:
            pause = self._asked + QUIET_SECONDS - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            wanted, zygote = self.wanted, self._zygotes.in_use
            standing = len(self.standing)
            pause = self._asked + _CALM_SECONDS - time.monotonic()
            if standing == wanted:
                return
            if standing >= self._demand.least and pause > 0:
                await asyncio.sleep(min(pause, QUIET_SECONDS))  # no longer: some may be asked for meanwhile
            elif standing > wanted:
                if zygote is None or not zygote.blanks:
                    return
                await zygote.blanks.pop().end()
            elif not await self._add():
                return

    async def _rehearse_all(self) -> None:
        """Have one after the other rehearse, as long as nobody asks."""
        while self._rehearse:
            await self.filled()
            zygote, blank = self._zygotes.in_use, next((one for one in self.standing if not one.rehearsed), None)
            if zygote is None or blank is None:
                return
            pause = self._asked + _CALM_SECONDS - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                await self._rehearse_one(zygote, blank)

    async def _rehearse_one(self, zygote: Zygote, blank: Blank) -> None:
        """Nobody can claim it meanwhile; then it is the next one to be claimed."""
        zygote.blanks.remove(blank)
        self._away = blank
        try:
            await blank.rehearse()
        except Refused as error:  # all of this zygote would: they are slower then, and right
            _log.warning("Isolates cannot rehearse: %s", error)
            self._rehearse = False
        except Gone:
            pass
        finally:
            self._away = None
            if blank.rehearsed and not zygote.retired:
                zygote.blanks.appendleft(blank)
            else:
                blank.discard()

    async def _add(self) -> bool:
        """Add a blank to the pool; False when none can be made."""
        try:
            zygote = await self._zygotes.current()
            blank = self._fork(zygote)
            try:
                await blank.stand()
            except BaseException:
                blank.discard()
                raise
        except (Refused, Gone, TimeoutError):
            return False  # who asks for an isolate will be told, and we try again then
        if zygote.retired:
            blank.discard()
        else:
            zygote.blanks.append(blank)
        return True

    def _fork(self, zygote: Zygote) -> Blank:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = next(self._ids)
        with theirs:
            reply = zygote.fork(number, theirs.fileno())
        return Blank(ours, asyncio.create_task(self._settle(zygote, number, ours, reply)))

    async def _settle(
        self, zygote: Zygote, number: int, sock: socket.socket, reply: "asyncio.Future[Reply]"
    ) -> Isolate:
        """Make its cgroup while the zygote forks, register the isolate, and move it in.

        Moving takes 0.2 ms or, when the kernel first waits for all its processors, 10: never on this loop.
        """
        group: Cgroup | None = None
        trouble: OSError | None = None
        try:
            try:
                group = self._cgroups.make(number, _USUAL.memory, _USUAL.processes)
            except OSError as error:
                trouble = error
            told, received = await reply
            isolate = Isolate(sock, told["pid"], received[0], group)
            zygote.adopt(number, isolate)
        except BaseException:
            if group is not None:
                group.remove()
            raise
        finally:
            zygote.release()
        try:
            if trouble is not None:
                raise trouble
            if group is not None:
                await asyncio.get_running_loop().run_in_executor(self._movers, group.attach, isolate.pid)
        except OSError as error:
            if isinstance(error, ProcessLookupError) or isolate.over:  # its cgroup goes with it
                raise Gone("the isolate ended before it was in its cgroup") from error
            isolate.kill()
            raise Refused({"step": "cgroup", "errno": error.errno, "text": str(error)}) from error
        return isolate
