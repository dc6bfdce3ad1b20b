"""Places for attempts, of which there are only so many: tenants take turns; a tenant's go by rank, then first come."""

import asyncio
import itertools
from collections import Counter, OrderedDict
from heapq import heapify, heappop, heappush

from stepwell.engine.room import Rank

Waiting = tuple[Rank, int, asyncio.Future[None]]


class Slots:
    """A semaphore that is fair between tenants: one that asks for a thousand places delays another by one at most.

    No tenant holds more than `per_tenant` places, so there may be free ones while some wait.
    """

    def __init__(self, limit: int, per_tenant: int | None = None) -> None:
        self.limit = limit
        self._free = limit
        self._per_tenant = per_tenant or limit
        self._held: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._queues: OrderedDict[str, list[Waiting]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def free(self) -> int:
        return self._free

    @property
    def per_tenant(self) -> int:
        """How many places one tenant may hold."""
        return min(self._per_tenant, self.limit)

    def reason(self, tenant: str) -> str:
        """Say what an attempt of a tenant waits for that has no place."""
        if self._free > 0 and not self._may(tenant):
            return f"waits for a place: at most {_many(self._per_tenant)} of {tenant} at a time"
        return f"waits for a place: at most {_many(self.limit)} at a time"

    async def acquire(self, tenant: str, rank: Rank = (0, 0, 0)) -> None:
        """Wait for a place."""
        if self._free > 0 and self._may(tenant):  # then nobody who may waits: a free place would have been given out
            self._free -= 1
            self._held[tenant] += 1
            return
        place = asyncio.get_running_loop().create_future()
        heappush(self._queues.setdefault(tenant, []), (rank, next(self._numbers), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release(tenant)
            else:
                self._forget(tenant, place)
            raise

    def release(self, tenant: str) -> None:
        """Give this tenant's place back; the most urgent of the next tenant that may have one more gets it."""
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        for name in list(self._queues):
            while self._may(name) and (queue := self._queues.get(name)):
                _, _, place = heappop(queue)
                if queue:
                    self._queues.move_to_end(name)
                else:
                    del self._queues[name]
                if not place.done():
                    self._held[name] += 1
                    place.set_result(None)
                    return
        self._free += 1

    def _may(self, tenant: str) -> bool:
        return self._held[tenant] < self._per_tenant

    def _forget(self, tenant: str, place: asyncio.Future[None]) -> None:
        queue = [waiting for waiting in self._queues.get(tenant, ()) if waiting[-1] is not place]
        if queue:
            heapify(queue)
            self._queues[tenant] = queue
        else:
            self._queues.pop(tenant, None)


def _many(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"
