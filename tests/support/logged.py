"""An attempt's output in memory, and a step's attempt for executors, for tests that need nothing else of an engine."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.engine.seams import Attempt, Code, Output


class Log:
    """An Output that keeps what it is given; also a LogSink whose every log is itself."""

    def __init__(self) -> None:
        self.data = b""
        self.notes: list[str] = []
        self.arrived = asyncio.Event()
        self.services: dict[str, Log] = {}

    @property
    def text(self) -> str:
        return self.data.decode()

    def writer(self, run: str, key: str, attempt: int, masks: Sequence[str]) -> Output:
        return self

    def keep_rounds(self, run: str, rounds: Mapping[int, Sequence[str]]) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data
        self.arrived.set()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def behind(self) -> int:
        return 0

    def beside(self, name: str) -> "Log":
        return self.services.setdefault(name, Log())

    def close(self) -> None:
        return

    async def kept(self) -> None:
        return


def attempt(command: str | list[str], base: tuple[str, ...] = (), key: str = "step#1", **options: Any) -> Attempt:
    """An attempt of a `step.run` of tenant acme."""
    return Attempt(
        run="run-1",
        tenant="acme",
        scope="acme/api",
        metadata={"name": "acme/api", "commit": "c0ffee"},
        code=Code("digest", {}, "pipeline.py:Ship", tree=None),
        key=key,
        name=key.partition("#")[0],
        kind="run",
        number=1,
        options={"command": command, **options},
        base=base,
    )
