"""The measurements measure: each gives as many samples as asked for, all above zero, and leaves nothing behind."""

import gc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stepwell.cli import bench_engine, bench_restart
from stepwell.engine.local import ProcessIsolates
from stepwell.engine.seams import Isolates

Measurement = Callable[[Isolates, Path, int], Awaitable[list[float]]]


@pytest.mark.parametrize(
    "measurement",
    [
        bench_engine.start_to_first_step_ms,
        bench_engine.sequential_steps_per_s,
        bench_engine.concurrent_steps_per_s,
        bench_engine.concurrent_steps_ready_per_s,
        bench_engine.event_to_step_ms,
    ],
)
async def test_a_measurement_gives_samples_and_leaves_nothing(measurement: Measurement, tmp_path: Path) -> None:
    isolates = ProcessIsolates()
    await measurement(isolates, tmp_path, 1)
    gc.collect()  # what earlier tests left open would be closed in between
    files = len(list(Path("/proc/self/fd").iterdir()))
    samples = await measurement(isolates, tmp_path, 2)
    assert len(samples) == 2 and min(samples) > 0
    assert (isolates.alive, list(tmp_path.iterdir())) == (0, [])
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    await isolates.close()


async def test_a_killed_server_goes_on_where_its_step_was_in_flight(tmp_path: Path) -> None:
    (taken,) = await bench_restart.restart_to_step_ms(tmp_path, 1)
    assert taken > 0
    assert list(tmp_path.iterdir()) == []
