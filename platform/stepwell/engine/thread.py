"""The engine on a thread and loop of its own, so that nothing of the web stands between a step and its commit."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from stepwell.engine.engine import Engine
from stepwell.errors import Unavailable

T = TypeVar("T")
Part = Callable[[], Awaitable[object]]


class EngineThread:
    """Owns the thread. `before` are awaited on its loop before the engine starts, `after` when it has stopped."""

    def __init__(self, engine: Engine, before: Sequence[Part] = (), after: Sequence[Part] = ()) -> None:
        self.engine = engine
        self._before = before
        self._after = after
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start and return when the engine runs; raises what kept it from doing so."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), name="engine", daemon=True)
        self._thread.start()
        ready.result()

    async def _main(self, ready: "Future[None]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        started = False
        try:
            for part in self._before:
                await part()
            await self.engine.start()
            started = True
            ready.set_result(None)
            await self._stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            if started:
                await self.engine.stop()
            for part in self._after:
                await part()

    def stop(self) -> None:
        """Stop the engine and wait for its thread."""
        if self._loop is not None and self._stop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have a coroutine of the engine run on its loop, from any thread."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            raise Unavailable("The engine is not running.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The same, awaited on any other loop."""
        return await asyncio.wrap_future(self.submit(work))
