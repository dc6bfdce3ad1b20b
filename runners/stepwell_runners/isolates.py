"""ZygoteIsolates: the engine's side of the zygote, its isolates and the wall around them."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepwell.engine.seams import IsolateSpec
from stepwell_runners.spec import CommandSpec, Exit, Finding


class Isolate:
    """Implements IsolateChannel."""

    sock: socket.socket
    pid: int

    def kill(self) -> None:
        """End every process of the isolate."""
        raise NotImplementedError

    async def ended(self) -> str:
        """Wait until all its processes are gone; why, in words."""
        raise NotImplementedError

    async def exit(self) -> Exit:
        """Wait like `ended`; the same in numbers, with `lost`."""
        raise NotImplementedError


class CommandProcess:
    """A command in its isolate. `output` is the reading end of a non-blocking pipe; whoever reads it closes it."""

    output: int
    pid: int

    async def wait(self) -> Exit:
        """Wait until every process of it is gone."""
        raise NotImplementedError

    def kill(self) -> None:
        """End every process of it; idempotent, never raises."""
        raise NotImplementedError


@dataclass(frozen=True)
class IsolateOptions:
    """What an operator decides about isolates."""

    wall: Literal["full", "none"] = "full"
    exceptions: frozenset[str] = frozenset()  # host or host:port that the egress proxy may reach although not public
    upstream: str | None = None  # http://host:port of a proxy that the egress proxy itself must use


class ZygoteIsolates:
    """Implements Isolates, and commands. Lives on the engine's event loop."""

    def __init__(
        self,
        state: Path,
        tree: Callable[[str], Path],
        options: IsolateOptions | None = None,
        connected: Callable[[str, str, bool], None] | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Start zygote and mounter; what is missing is kept for `probe` and raised by `open`."""

    async def stop(self) -> None:
        """Kill all isolates, then zygote and mounter."""

    async def open(self, spec: IsolateSpec) -> Isolate:
        """Boot an isolate for code."""
        raise NotImplementedError

    async def command(self, spec: CommandSpec) -> CommandProcess:
        """Boot an isolate and start a command in it."""
        raise NotImplementedError

    async def probe(self) -> list[Finding]:
        """Say what this host can give."""
        raise NotImplementedError
