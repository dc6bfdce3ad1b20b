"""Finds the author's line: in a running stack, or down the chain of what a suspended task awaits."""

import asyncio
from collections.abc import Collection
from itertools import islice
from types import CodeType, FrameType
from typing import Any

Mark = tuple[CodeType, int] | None
"""A place as code and instruction: looking up its line takes ten times as long, and few places are ever shown."""


def of_frame(frame: FrameType | None, names: Collection[str]) -> Mark:
    """Mark the innermost frame in the author's files."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename in names:
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def shown(mark: Mark) -> str:
    """Give "file:line" of a mark, or ""."""
    if mark is None:
        return ""
    code, instruction = mark
    line = next(islice(code.co_positions(), instruction // 2, None))[0]
    return f"{code.co_filename}:{line}"


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
