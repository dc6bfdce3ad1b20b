"""Output on its way from a command to its log: at full speed, in bounded memory, byte for byte.

With `STEPWELL_SOAK=1` a step prints 100 MB; otherwise 10.
"""

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from logged import Log, attempt

from stepwell.engine.seams import Prepared
from stepwell.store.log_files import Log as KeptLog
from stepwell.store.logs import LogStore
from stepwell_runners import streaming
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions
from stepwell_runners.streaming import Stream

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
MEGABYTES = 100 if SOAK else 10
SECRET = "p4ss-w0rd-of-somebody"
HEAD = b"".join((
    bytes(range(256)), b"\n10%\r20%\r100%\r\n", b"\xff\xfe\xc3( \xed\xa0\x80 cut \xe2\x82\n",
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;javascript:alert(1)\x1b\\ \x1b[2J \x9b5n \x90q\n",
    b"<script>alert(1)</script>\n",
))  # fmt: skip
LONG = 10_000_000


class SlowLog(Log):
    """Keeps up with nothing until it has been asked three times in a row how far behind it is."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.most, self.kept_bytes = 0, 0, 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.asked = 0
        self.most = max(self.most, len(self.data) - self.kept_bytes)

    def behind(self) -> int:
        self.asked += 1
        if self.asked == 3:
            self.kept_bytes = len(self.data)
        return len(self.data) - self.kept_bytes


async def test_a_command_waits_for_a_log_that_does_not_come_after() -> None:
    log = SlowLog()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    text = os.urandom(1 << 20)
    stream = Stream(reading, log, 1 << 30)
    stream.start()

    def flood() -> None:
        with os.fdopen(writing, "wb") as file:
            for _ in range(10):
                file.write(text)

    await asyncio.to_thread(flood)
    stream.finish()
    assert log.data == text * 10
    assert streaming._MOST_BEHIND < log.most <= streaming._MOST_BEHIND + streaming._BLOCK


@pytest_asyncio.fixture
async def executor(tmp_path: Path) -> AsyncIterator[LocalExecutor]:
    state = tmp_path / "state"
    (state / "work").mkdir(parents=True)
    isolates = ZygoteIsolates(state, lambda _: state, IsolateOptions())
    await isolates.start()
    if not isolates.walled:
        pytest.skip("this host does not give the wall")
    yield LocalExecutor.at(state, isolates)
    await isolates.stop()


async def _printed(executor: LocalExecutor, folder: Path, command: str | list[str]) -> KeptLog:
    logs = LogStore(folder)
    output = logs.writer("run", "step#1", 1, [SECRET])
    outcome = await executor.execute(attempt(command), Prepared(masks=(SECRET,)), output)
    assert outcome.ok, outcome
    output.close()
    await output.kept()
    logs.close()
    return logs.log("run", "step#1", 1)


async def test_whatever_a_step_prints_is_kept_as_it_is(executor: LocalExecutor, tmp_path: Path) -> None:
    program = f"import os\ndata = {HEAD!r} + b'y' * {LONG} + b'\\nno end'\nwhile data: data = data[os.write(1, data) :]"
    log = await _printed(executor, tmp_path / "logs", ["python", "-c", program])
    kept = log.read(0, 1 << 30)
    printed = HEAD + b"y" * LONG + b"\nno end"
    assert kept == printed.replace(b"\x1e", "\N{SYMBOL FOR RECORD SEPARATOR}".encode())  # which begins Stepwell's lines
    shown = log.lines(0, 100)
    assert max(len(line.text) for line in shown) < 9_000 and not any(line.note for line in shown)


async def test_a_secret_is_masked_however_it_is_cut(executor: LocalExecutor, tmp_path: Path) -> None:
    program = f"""
import os, time
for cut in range(1, {len(SECRET)}):
    os.write(1, b"x" * (262144 - cut) if cut == 7 else b"a ")
    os.write(1, {SECRET.encode()!r}[:cut])
    time.sleep(0.002)
    os.write(1, {SECRET.encode()!r}[cut:] + b" z\\n")
"""
    log = await _printed(executor, tmp_path / "logs", ["python", "-c", program])
    kept = log.read(0, 1 << 30)
    assert kept.count(b"*** z\n") == len(SECRET) - 1
    assert SECRET[:4].encode() not in kept and SECRET[-4:].encode() not in kept


async def test_a_flood_costs_the_server_no_memory_and_little_processor_time(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    log = await _printed(executor, tmp_path / "logs", f"yes | head -c {MEGABYTES}000000")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert log.size == MEGABYTES * 1_000_000 and log.line_count == MEGABYTES * 500_000
    if SOAK:
        assert after.ru_maxrss - before.ru_maxrss < 32 << 10  # KiB
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0
