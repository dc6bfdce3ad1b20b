"""Places of which there are only so many, given out in turn: first come first served, round robin between tenants."""

import asyncio
from collections import OrderedDict, deque


class Slots:
    """A semaphore that is fair between tenants: one that asks for a thousand places delays another by one at most."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def free(self) -> int:
        return self._free

    async def acquire(self, tenant: str) -> None:
        """Wait for a place."""
        if self._free > 0 and not self._queues:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            else:
                self._forget(tenant, place)
            raise

    def release(self) -> None:
        """Give a place back; the longest waiting of the next tenant gets it."""
        while self._queues:
            tenant, queue = next(iter(self._queues.items()))
            place = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant)
            else:
                del self._queues[tenant]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, tenant: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[tenant]
