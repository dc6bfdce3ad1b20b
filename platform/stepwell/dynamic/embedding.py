"""An engine for a program of your own: one SQLite file, a block to live in, no git, HTTP or pages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stepwell.dynamic.binding import WorkflowsBinding
from stepwell.dynamic.loading import route
from stepwell.dynamic.sole import held_alone
from stepwell.engine.clock import Clock
from stepwell.engine.engine import Engine
from stepwell.engine.local import ProcessIsolates, local_engine
from stepwell.engine.seams import Binding, Code, Isolates, LogSink
from stepwell.errors import Invalid


@asynccontextmanager
async def embedded(
    database: Path | str,
    load: Callable[[Mapping[str, Any]], Awaitable[Code]],
    *,
    isolates: Isolates | None = None,
    bindings: Mapping[str, Binding] | None = None,
    large_results: Path | str | None = None,
    logs: LogSink | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Engine]:
    """Have an engine run on this file while the block lasts; what is not over then goes on the next time.

    Code has `self.env.workflows` and what `bindings` adds. `isolates` are the caller's, started and ended by them;
    without, code runs in ordinary processes behind no wall, which is for code that is trusted like one's own.
    `large_results` is a directory for results of more than 1 MiB; without one they are refused. `logs` takes what code
    prints, as LogLines do; without, it is dropped. `clock` is a TestClock where a test moves the time.
    Raises Unavailable when the file cannot be opened, or another engine runs on it; Invalid for what is no file's name.
    """
    path = _file(database)
    with held_alone(path):
        own = ProcessIsolates()
        engine = local_engine(path, isolates or own, route(load), large_results=large_results, logs=logs, clock=clock)
        for name, binding in {"workflows": WorkflowsBinding(engine), **(bindings or {})}.items():
            engine.offer(name, binding)
        try:
            async with _running(engine):
                yield engine
        finally:
            await own.close()


@asynccontextmanager
async def _running(engine: Engine) -> AsyncIterator[None]:
    await engine.start()
    try:
        yield
    finally:
        await engine.stop()


def _file(database: Path | str) -> Path:
    """Refuse what sqlite3 understands otherwise: a run that is accepted is on disk, so none is kept in memory only."""
    name = str(database)
    if not isinstance(database, Path | str) or not Path(name).name or name.startswith((":", "file:")):
        raise Invalid(f"The database has value {name!r}. Give the path of a file; in a test one of a temporary folder.")
    return Path(database)
