"""Makes asyncio and the author's classes order themselves alike in every process.

A set iterates in the order of hashes, and the default hash is an address. The loop's own tasks and futures hash by
creation number (loop.py); what asyncio creates past the loop, and instances of classes in the author's files, get the
same here. `as_completed` makes tasks out of a set, so an ordered version replaces it while a run's loop is running.

What stays open, and is documented: sets that contain functions, classes, modules or None (an address in Python 3.11).
"""

import asyncio
import builtins
import threading
from asyncio import events, futures, tasks
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from typing import Any

from stepwell.authoring.loop import Loop


def install(loop: Loop, names: Collection[str]) -> Callable[[], None]:
    """Patch this process and give what takes it back; `names` are the author's files as code objects carry them."""
    gathering = tasks._GatheringFuture  # type: ignore[attr-defined]
    before = (gathering.__hash__, tasks.as_completed, tasks.all_tasks, builtins.__build_class__)

    def patch(hashed: Any, as_completed: Any, all_tasks: Any, build_class: Any) -> None:
        gathering.__hash__ = hashed
        asyncio.as_completed = tasks.as_completed = as_completed
        asyncio.all_tasks = tasks.all_tasks = all_tasks
        builtins.__build_class__ = build_class

    patch(
        _number_of(loop),
        _ordered_as_completed(tasks.as_completed),
        _ordered_all_tasks(tasks.all_tasks),
        _counting_build_class(builtins.__build_class__, loop, names),
    )
    return lambda: patch(*before)


def _number_of(loop: Loop) -> Callable[[Any], int]:
    def number(self: Any) -> int:
        known = self.__dict__.get("_number") if hasattr(self, "__dict__") else None
        if known is None:
            known = loop.next_number() if self.get_loop() is loop else id(self) >> 4
            self._number = known
        return int(known)

    return number


def _ordered_all_tasks(original: Callable[..., set[Any]]) -> Callable[..., set[Any]]:
    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[Any]:
        found = original(loop)
        if isinstance(loop or events.get_running_loop(), Loop):
            return set(sorted(found, key=hash))  # noqa: C414 - the order of insertion decides between equal slots
        return found

    return all_tasks


def _ordered_as_completed(original: Callable[..., Any]) -> Callable[..., Any]:
    def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> Any:
        loop = events._get_running_loop()
        return _in_order(fs, timeout, loop) if isinstance(loop, Loop) else original(fs, timeout=timeout)

    return as_completed


def _in_order(fs: Any, timeout: float | None, loop: Loop) -> Generator[Awaitable[Any], None, None]:
    if futures.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"as_completed expects a list of awaitables, not {type(fs).__name__}")
    done: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
    todo: dict[asyncio.Future[Any], None] = {asyncio.ensure_future(f, loop=loop): None for f in fs}
    timer: asyncio.TimerHandle | None = None

    def completed(future: asyncio.Future[Any]) -> None:
        if todo.pop(future, _ABSENT) is _ABSENT:
            return
        done.put_nowait(future)
        if not todo and timer is not None:
            timer.cancel()

    def time_out() -> None:
        for future in todo:
            future.remove_done_callback(completed)
            done.put_nowait(None)
        todo.clear()

    async def next_one() -> Any:
        future = await done.get()
        if future is None:
            raise TimeoutError
        return future.result()

    for future in list(todo):
        future.add_done_callback(completed)
    if todo and timeout is not None:
        timer = loop.call_later(timeout, time_out)
    for _ in range(len(todo)):
        yield next_one()


_ABSENT: Any = object()


def _counting_build_class(original: Callable[..., Any], loop: Loop, names: Collection[str]) -> Callable[..., Any]:
    main = threading.get_ident()
    counts = {True: 0, False: 0}  # inside run() and outside: step.do functions must not move run()'s numbers

    def number(self: Any) -> int:
        try:
            return int(self.__dict__["_stepwell_number"])
        except KeyError:
            inside = loop.inside and threading.get_ident() == main
            counts[inside] += 1
            self.__dict__["_stepwell_number"] = value = counts[inside] * 2 + inside
            return value
        except AttributeError:  # __slots__: no place to keep a number
            return object.__hash__(self)

    def build_class(body: Any, name: str, *bases: Any, **keywords: Any) -> Any:
        cls = original(body, name, *bases, **keywords)
        ours = body.__code__.co_filename in names
        if ours and isinstance(cls, type) and cls.__hash__ is object.__hash__:  # type: ignore[comparison-overlap]
            cls.__hash__ = number  # type: ignore[method-assign,assignment]
        return cls

    return build_class
