"""Waiting on a thread for what the engine's loop answers."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from stepwell.engine.thread import EngineThread
from stepwell.errors import TryLater

T = TypeVar("T")
PATIENCE_SECONDS = 30.0


def answer_of(thread: EngineThread, work: Coroutine[Any, Any, T]) -> T:
    """Have the engine do something and wait for it; TryLater when it takes too long. Never call on its own loop."""
    asked = thread.submit(work)
    try:
        return asked.result(PATIENCE_SECONDS)
    except TimeoutError as error:
        asked.cancel()
        raise TryLater(f"The engine did not answer within {PATIENCE_SECONDS:g} s. Try again.", 5.0) from error
