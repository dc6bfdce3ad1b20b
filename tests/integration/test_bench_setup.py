"""The figure of a second push where `setup=` is a pip install: what it measures is what it says."""

import os
from typing import Any

import pytest
from heavy import cold_starts
from python_image import pip_image

from stepwell.cli import bench_setup

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not os.environ.get("STEPWELL_SOAK"), reason="it packs a Python and installs with it: make soak"),
]


def test_the_second_push_begins_in_a_container_that_waited(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_image(engine)
    cold = cold_starts(monkeypatch)
    figure = bench_setup.setup_second_push_ms(samples=2)
    assert len(figure.values) == 2 and min(figure.values) > 0
    assert len(cold) == 2, (
        "each setup is followed by one step for which nothing could wait, and by one for which it did"
    )
