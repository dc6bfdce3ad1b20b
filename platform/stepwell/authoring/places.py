"""Finds the author's line: in a running stack, or down the chain of what a suspended task awaits."""

import asyncio
from collections.abc import Collection
from types import FrameType
from typing import Any


def of_frame(frame: FrameType | None, names: Collection[str]) -> str:
    """Give "file:line" of the innermost frame in the author's files, or ""."""
    while frame is not None:
        if frame.f_code.co_filename in names:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def of_task(task: "asyncio.Task[Any]", names: Collection[str]) -> str:
    """Give "file:line" where a suspended task awaits, or ""; Task.get_stack knows its outermost coroutine only."""
    place = ""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and frame.f_code.co_filename in names:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return place
