"""Blocking work in threads, which cannot be interrupted: what it has made is taken back when nobody wants it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
_NICE = 5


async def finished(work: Coroutine[Any, Any, T], undo: Callable[[T], None]) -> T:
    """Await work in a thread: on cancellation its result is undone first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if task.exception() is None:
            await asyncio.to_thread(undo, task.result())
        raise


@asynccontextmanager
async def entered(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context whose ends block."""
    with ExitStack() as stack:
        given = await finished(asyncio.to_thread(stack.enter_context, manager), lambda _: stack.close())
        try:
            yield given
        finally:
            await asyncio.shield(asyncio.to_thread(stack.close))


def give_way() -> None:
    """Let this thread, and the processes that it starts, give way to others."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
