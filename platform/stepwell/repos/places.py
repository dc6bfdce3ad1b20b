"""Places for git processes of clients: so many in all, and fewer for each tenant, so that no tenant has them all.

A client that reads or sends a byte a minute keeps its process for hours. It takes places of the tenant whose
repository it is, and pushes and fetches of other tenants go on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from stepwell.errors import TryLater


class Places:
    """`most` in all, `most_of_one` for each tenant; who finds none waits up to `wait_s` seconds, in turn."""

    def __init__(self, most: int, most_of_one: int, wait_s: float) -> None:
        self._wait_s = wait_s
        self._most_of_one = most_of_one
        self._all = asyncio.Semaphore(most)
        self._own: dict[str, tuple[asyncio.Semaphore, int]] = {}  # and how many hold or want one of a tenant's

    @contextlib.asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place while the block lasts. Raises TryLater."""
        own, wanted = self._own.get(tenant) or (asyncio.Semaphore(self._most_of_one), 0)
        self._own[tenant] = own, wanted + 1
        try:
            async with contextlib.AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(self._wait_s):
                        await held.enter_async_context(own)
                        await held.enter_async_context(self._all)
                except TimeoutError as error:
                    whose = f" of {tenant}" if own.locked() else ""
                    raise TryLater(
                        f"The server is busy with other pushes and fetches{whose}.", retry_after=10
                    ) from error
                yield
        finally:
            own, wanted = self._own.pop(tenant)
            if wanted > 1:
                self._own[tenant] = own, wanted - 1
