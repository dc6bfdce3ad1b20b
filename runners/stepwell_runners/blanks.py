"""The blanks of the zygote in use: made when they are asked for, and a few ahead while nothing else is to be done.

What a fork and its namespaces take, and the up to 10 ms for which a kernel with cgroups version 1 may hold up a process
on its way into one, is over before anybody asks. Refilling waits until no isolate has been asked for a moment, so a
burst that empties the pool goes on with isolates made from nothing, and no fork of ours gets into its way. When nobody
has asked for long, the pool is given back: an idle server holds no isolate.

Rejected: blanks sealed for one tenant ahead (docs/decisions/blanks.md).
"""

import asyncio
import itertools
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from stepwell_runners.blank import Blank
from stepwell_runners.cgroups import Cgroup, Cgroups
from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Gone, Refused, Reply
from stepwell_runners.spec import Limits
from stepwell_runners.zygotes import Zygote, Zygotes

_QUIET_SECONDS = 0.05
_USUAL = Limits()  # others are set when a blank is claimed


class Blanks:
    """Gives blanks, from the pool of `size` or new ones. Belongs to one event loop.

    Nobody having asked for `idle_seconds`, the pool is given back until somebody does.
    """

    def __init__(self, zygotes: Zygotes, cgroups: Cgroups, size: int, idle_seconds: float) -> None:
        self._zygotes = zygotes
        self._cgroups = cgroups
        self._size = size
        self._idle_seconds = idle_seconds
        self._idle: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._movers = ThreadPoolExecutor(2, "cgroup")  # of its own: boots must not queue behind long work
        self._asked = time.monotonic()  # when a blank was last asked for
        self._filling: asyncio.Task[None] | None = None
        zygotes.on_replace(self.refill)

    @property
    def standing(self) -> tuple[Blank, ...]:
        """Those that are ready."""
        zygote = self._zygotes.in_use
        return tuple(zygote.blanks) if zygote else ()

    async def take(self, *, new: bool = False) -> Blank:
        """Give a blank of the zygote in use, whether it stands already or not. Raises Refused or Gone.

        `new`: one of the pool has just been found dead, which its neighbours may be too; throw them away and fork.
        """
        zygote = await self._zygotes.current()
        if new:
            zygote.drop_blanks()
        self.refill()
        while zygote.blanks:
            blank = zygote.blanks.popleft()
            if blank.untouched:
                return blank
            blank.discard()
        return self._fork(zygote)

    def refill(self) -> None:
        """Fill the pool in the background, as soon as it has been quiet for a moment."""
        self._asked = time.monotonic()
        if self._size and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill())
        if self._size and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._give_back)

    async def filled(self) -> None:
        """Wait for the end of the filling that is under way."""
        if self._filling is not None:
            await asyncio.wait({self._filling})

    def _give_back(self) -> None:
        """Empty the pool when nobody has asked for long; look again when that is due otherwise."""
        self._idle = None
        left = self._asked + self._idle_seconds - time.monotonic()
        if self._filling is not None and not self._filling.done():
            left = self._idle_seconds
        if left > 0:
            self._idle = asyncio.get_running_loop().call_later(left, self._give_back)
        elif self._zygotes.in_use is not None:
            self._zygotes.in_use.drop_blanks()

    async def stop(self) -> None:
        """End all blanks with their zygotes, and all isolates."""
        if self._idle is not None:
            self._idle.cancel()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling})
        await self._zygotes.stop()
        self._movers.shutdown()

    async def _fill(self) -> None:
        while True:
            pause = self._asked + _QUIET_SECONDS - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            try:
                if not await self._add():
                    return
            except (Refused, Gone, TimeoutError):
                return  # who asks for an isolate will be told, and we try again then

    async def _add(self) -> bool:
        """Add a blank to the pool; False when it is full."""
        zygote = await self._zygotes.current()
        if len(zygote.blanks) >= self._size:
            return False
        blank = self._fork(zygote)
        try:
            await blank.stand()
        except BaseException:
            blank.discard()
            raise
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
