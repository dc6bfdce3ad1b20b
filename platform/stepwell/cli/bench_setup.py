"""What a second push waits for where `setup=` is a pip install: the first one has done that, and left a snapshot.

Each sample begins with a push whose `setup_inputs` are new, so that its setup runs; the next push changes nothing.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from stepwell.cli.bench import Sample
from stepwell.cli.bench_push import Push, pusher
from stepwell.cli.bench_runners import an_image

PYTHONS = ("stepwell-test/pip:latest", "python:3.13-slim", "python:3.12-slim", "python:3.11-slim")
SAMPLES = 5
SETUP_SECONDS = 120
_WHEEL = "stepwell_bench-1.0-py3-none-any.whl"
_STEP = """await step.run(
            "test", "echo here; python3 -c 'import stepwell_bench'", image={image!r}, network=False,
            setup="python3 -m pip install --no-index ./{wheel}", setup_inputs=[{wheel!r}])"""


def _second_pushes(samples: int) -> list[Push]:
    steps = _STEP.format(image=an_image(PYTHONS), wheel=_WHEEL)
    found = []
    with pusher(steps) as one:
        for number in range(samples):
            _write_wheel(one.folder / _WHEEL, number)
            one.push(SETUP_SECONDS)
            found.append(one.push())
    return found


def _write_wheel(place: Path, number: int) -> None:
    """Write a package that pip installs without asking anybody."""
    about = "stepwell_bench-1.0.dist-info"
    with zipfile.ZipFile(place, "w") as wheel:
        wheel.writestr("stepwell_bench.py", f"NUMBER = {number}\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: stepwell-bench\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in (*wheel.namelist(), f"{about}/RECORD")))


def setup_second_push_ms(samples: int = SAMPLES) -> Sample:
    """Push again where `setup=` is a pip install that has been run, from the push's end to the first output."""
    return Sample(tuple(max(0.0, push.first_output - push.done) * 1000 for push in _second_pushes(samples)), "ms")


MEASURES: Mapping[str, Callable[[], Sample]] = {"setup_second_push_ms": setup_second_push_ms}
