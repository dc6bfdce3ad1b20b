"""A command in an isolate, as the host holds it: what process 1 is told, what it reports, the pipe of its output."""

import asyncio
import base64
import json
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stepwell.errors import Invalid, Unavailable
from stepwell_runners import nameless
from stepwell_runners.isolate import Isolate, describe_status, out_of_memory
from stepwell_runners.spec import FILES, TOOLS, WORKSPACE, CommandSpec, Directory, Exit

_REPORT_BYTES = 64 << 20


class CommandProcess:
    """A command that has been started. `output` is the reading end of a non-blocking pipe; who reads it closes it."""

    def __init__(self, isolate: Isolate, output: int, order: bytes) -> None:
        self.isolate = isolate
        self.output = output
        self.pid = self.init = isolate.pid
        self._report = asyncio.create_task(self._converse(order))

    @property
    def halting(self) -> "CommandProcess | None":
        """Itself, behind a wall."""
        return None if self.isolate.gentle else self

    async def wait(self) -> Exit:
        """Wait until every process of it is gone. `code` is the command's, the reason may name a limit."""
        report = await asyncio.shield(self._report)
        end = await self.isolate.exit()
        if report is None or self.isolate.killed:
            return end if end.code is None else replace(end, code=None, reason="killed")
        return self._told(report)

    def kill(self) -> None:
        """End every process of it; idempotent, never raises."""
        self.isolate.kill()

    def halt(self) -> None:
        """Have process 1 stop all others."""
        self.isolate.send(nameless.STOP)

    def go_on(self) -> None:
        """Have process 1 continue all others."""
        self.isolate.send(nameless.GO_ON)

    def _told(self, report: Mapping[str, Any]) -> Exit:
        end = describe_status(report["status"], report["seconds"])
        end = replace(end, collected=report["collected"])
        group = self.isolate.cgroup
        if end.code == 0:
            return end
        if self.isolate.memory_exceeded and group is not None:
            return replace(end, reason=f"{out_of_memory(group.bounds)}, {end.reason}", exceeded="memory")
        if signal.SIGXFSZ in (end.signal, (end.code or 0) - 128):  # the second is how a shell says it
            return replace(end, exceeded="file")
        if self.isolate.processes_exceeded and group is not None:
            return replace(
                end, reason=f"out of processes (limit {group.processes}), {end.reason}", exceeded="processes"
            )
        return replace(end, exceeded="tmp") if report["tmp_full"] else end

    async def _converse(self, order: bytes) -> dict[str, Any] | None:
        """Tell process 1 what to run; its report, or None when it was killed before."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        try:
            await loop.sock_sendall(self.isolate.sock, order)
            while chunk := await loop.sock_recv(self.isolate.sock, 1 << 16):
                received += chunk
                if len(received) > _REPORT_BYTES:
                    self.kill()
        except ConnectionError:
            return None
        finally:
            self.isolate.sock.close()
        return read_report(received)


def read_report(received: bytes | bytearray) -> dict[str, Any] | None:
    """What process 1 has reported, or None when it is not a report: what a command could bend must not be believed."""
    try:
        report: Any = json.loads(received) if received.endswith(b"\n") else None
        number, seconds, collected = report["status"], report["seconds"], report["collected"]
        if type(number) is not int or not 0 <= number <= 0xFFFF or not 0 <= float(seconds) < float("inf"):
            return None
        files = {str(path): base64.b64decode(text, validate=True) for path, text in collected.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    full = report.get("tmp_full") is True
    return {"status": number, "seconds": float(seconds), "collected": files, "tmp_full": full}


def order_of(spec: CommandSpec, environment: Mapping[str, str], private: str = FILES) -> bytes:
    """The line that process 1 reads. Raises Invalid for what cannot be passed to a program."""
    texts = (*spec.argv, *spec.env, *spec.env.values(), spec.cwd)
    if not spec.argv or any("\0" in text for text in texts) or any("=" in name for name in spec.env):
        raise Invalid("A command needs at least one word; no word, name or value may hold a NUL, no name an `=`.")
    if any("/" in name or name in ("", ".", "..") for name in spec.files):
        raise Invalid(f"Names of private files are plain names without slashes, not {sorted(spec.files)}.")
    order = {
        "argv": spec.argv,
        "env": {**environment, **spec.env},
        "cwd": spec.cwd,
        "files": {name: base64.b64encode(content).decode() for name, content in spec.files.items()},
        "private": private,
        "collect": spec.collect,
    }
    return json.dumps(order).encode() + b"\n"


def without_wall(spec: CommandSpec) -> tuple[CommandSpec, str]:
    """The same command in the host's own names, and its directory for private files, for want of mounts."""
    if spec.workspace is not None and not isinstance(spec.workspace, Directory):
        raise Unavailable("Without the wall a workspace is a plain directory: layers cannot be mounted.")
    private = tempfile.mkdtemp(prefix="stepwell-files-")
    names = {f"{TOOLS}/{tool.name}": str(tool.path) for tool in spec.tools} | {FILES: private}
    names[WORKSPACE] = str(spec.workspace.path) if spec.workspace else private

    def here(text: str) -> str:
        for name, path in names.items():
            text = text.replace(name, path)
        return text

    translated = replace(
        spec,
        argv=tuple(here(word) for word in spec.argv),
        env={name: here(value) for name, value in spec.env.items()},
        cwd=here(spec.cwd),
        collect=tuple(here(path) for path in spec.collect),
    )
    return translated, private


def discard(private: str) -> None:
    """Remove the directory of private files of a command without the wall."""
    shutil.rmtree(private, ignore_errors=True)
