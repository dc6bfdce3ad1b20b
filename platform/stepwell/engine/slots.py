"""Places for attempts, of which there are only so many: tenants take turns; a tenant's go by rank, then first come."""

import asyncio
import itertools
from collections import OrderedDict
from heapq import heapify, heappop, heappush

from stepwell.engine.room import Rank

Waiting = tuple[Rank, int, asyncio.Future[None]]


class Slots:
    """A semaphore that is fair between tenants: one that asks for a thousand places delays another by one at most."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._numbers = itertools.count()
        self._queues: OrderedDict[str, list[Waiting]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def free(self) -> int:
        return self._free

    async def acquire(self, tenant: str, rank: Rank = (0, 0, 0)) -> None:
        """Wait for a place."""
        if self._free > 0 and not self._queues:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        heappush(self._queues.setdefault(tenant, []), (rank, next(self._numbers), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            else:
                self._forget(tenant, place)
            raise

    def release(self) -> None:
        """Give a place back; the most urgent of the next tenant gets it."""
        while self._queues:
            tenant, queue = next(iter(self._queues.items()))
            _, _, place = heappop(queue)
            if queue:
                self._queues.move_to_end(tenant)
            else:
                del self._queues[tenant]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, tenant: str, place: asyncio.Future[None]) -> None:
        queue = [waiting for waiting in self._queues.get(tenant, ()) if waiting[-1] is not place]
        if queue:
            heapify(queue)
            self._queues[tenant] = queue
        else:
            self._queues.pop(tenant, None)
