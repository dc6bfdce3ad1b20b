"""The server's minute lets go of the layers of runs that ended longer ago than the setting says."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from places import EchoExecutor, Place

from stepwell.ci import keeper
from stepwell.engine.seams import Attempt, Outcome, Output, Prepared
from stepwell.errors import Conflict

PIPELINE = """
from stepwell import *

class Build(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
        await step.run("build", "make")
        await step.run("test", "make test")
"""


class Layered(EchoExecutor):
    """Each attempt leaves a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[str] = []
        self.dropped = threading.Event()

    async def drop(self, layers: Sequence[str]) -> None:
        self.gone += layers
        self.dropped.set()

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        await super().execute(attempt, prepared, output)
        return Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}}, layer=f"layer of {attempt.key}")


def test_layers_go_in_the_minute_after_their_time_and_a_restart_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "EVERY_SECONDS", 0.01)
    place, executor = Place(tmp_path), Layered()
    place.executor = executor
    place.settings = place.settings.model_copy(update={"keep_layers_days": 0})
    place.start()
    try:
        clone = place.repository()
        clone.pipeline(PIPELINE)
        clone.push()
        run = place.finished(clone.runs()[0].id).summary
        place.services.keeper.start()
        assert executor.dropped.wait(60)
        assert sorted(executor.gone) == ["layer of build#1", "layer of test#1"]
        with pytest.raises(Conflict, match="STEPWELL_KEEP_LAYERS_DAYS"):
            place.services.control.restart(place.admin(), run.id, "test")
    finally:
        place.stop()
