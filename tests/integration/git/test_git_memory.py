"""Processes that take too much memory together: the one that takes most is ended, and the others go on."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from stepwell.repos.common_memory import CommonMemory, anonymous, family

MEBI = 1 << 20
HOLDS = "import sys; held = bytearray(b'x') * (int(sys.argv[1]) << 20); print('ready', flush=True); sys.stdin.read()"
STARTS = (
    "import subprocess, sys; one = subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]); "
    "sys.exit(1 if one.wait() else 0)"
)
Holder = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def holder() -> Iterator[Holder]:
    """Start a process that holds so many MiB until its input ends, below another one if asked."""
    with ExitStack() as kept:

        def start(mebibytes: int, *, below: bool = False) -> "subprocess.Popen[bytes]":
            program = [STARTS, HOLDS] if below else [HOLDS]
            process = kept.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", *program, str(mebibytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            return process

        yield start


def test_the_largest_goes_when_all_together_take_too_much(holder: Holder) -> None:
    small, large = holder(30), holder(120, below=True)
    memory = CommonMemory(1 << 40)
    for process in (small, large):
        memory.watch(process.pid)
    starter, inner = family(large.pid)
    assert starter == large.pid and anonymous(inner) > 120 * MEBI > anonymous(starter)
    assert memory.look() is None
    memory.most_bytes = 100 * MEBI  # the thread looks as well: one of the two ends it
    assert memory.look() in {inner, None}
    assert large.wait(60) == 1, "what it had started was ended, and it could say so"
    assert small.poll() is None and memory.look() is None
    assert small.communicate(timeout=20)[0] == b"" and small.returncode == 0


def test_who_has_ended_is_watched_no_more(holder: Holder) -> None:
    process = holder(1)
    memory = CommonMemory(1 << 40)
    memory.watch(process.pid)
    assert memory.leaders() == [process.pid]
    process.communicate(timeout=20)
    thread = memory._thread
    if thread is not None:
        thread.join(60)
    assert memory.leaders() == [] and memory._thread is None
    memory.watch(process.pid)
    assert memory.leaders() == [] and anonymous(process.pid) == 0


def test_a_server_with_many_open_files_watches_as_well(holder: Holder) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2048), hard), hard))
    process, memory = holder(1), CommonMemory(1 << 40)
    with ExitStack() as kept:
        reading, writing = os.pipe()
        kept.callback(os.close, reading)
        kept.callback(os.close, writing)
        while (last := os.dup(reading)) < 1100:
            kept.callback(os.close, last)
        kept.callback(os.close, last)
        memory.watch(process.pid)
        thread = memory._thread
        process.communicate(timeout=20)
        assert thread is not None
        thread.join(60)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert memory.leaders() == [] and memory._thread is None
