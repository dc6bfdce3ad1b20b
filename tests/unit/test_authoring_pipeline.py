import re
from types import ModuleType

import pytest

from stepwell import Event, Pipeline, Step, cron, group, push, rate
from stepwell.authoring.pipeline import PipelineRefused, choose, declaration, pipelines_of


class Ship(Pipeline):
    """Ship it.

    With care.
    """

    on = [push("main"), cron("0 3 * * *")]  # noqa: RUF012
    concurrency = group("ship-{branch}", "cancel")
    rate_limit = rate(3, "1 hour")
    priority = 5
    defaults = {"timeout": "20 minutes"}  # noqa: RUF012

    async def run(self, event: Event, step: Step) -> None: ...


class Blocking(Pipeline):
    def run(self, event: Event, step: Step) -> None: ...  # type: ignore[override]


def module(**names: object) -> ModuleType:
    made = ModuleType("pipeline")
    vars(made).update(names)
    return made


def test_a_pipeline_is_described_as_data() -> None:
    found = declaration(Ship, "pipeline.py")
    assert found.pop("line") > 0
    assert found == {
        "name": "Ship", "entry": "pipeline.py:Ship", "doc": "Ship it.\n\nWith care.",
        "on": [{"kind": "push", "branches": ["main"], "paths": []},
               {"kind": "cron", "schedule": "0 3 * * *", "tz": "UTC"}],
        "concurrency": {"group": "ship-{branch}", "policy": "cancel"}, "defaults": {"timeout": 1200.0},
        "rate_limit": {"key": "", "runs": 3, "seconds": 3600.0}, "priority": 5,
    }  # fmt: skip


def test_bases_with_an_underscore_are_no_pipelines() -> None:
    assert pipelines_of(module(Pipeline=Pipeline, _Base=Ship, Ship=Ship, again=Ship), "p.py") == [Ship]


def test_an_entry_names_its_class() -> None:
    assert choose(module(Ship=Ship, Blocking=Blocking), "p.py", "Ship") is Ship
    with pytest.raises(PipelineRefused, match=r"p\.py has no pipeline 'Shop'. It has: Ship"):
        choose(module(Ship=Ship), "p.py", "Shop")


def test_a_pipeline_without_run_is_refused() -> None:
    class Empty(Pipeline):
        on = push()

    with pytest.raises(PipelineRefused, match=r"Empty has no run\(\)\. Write `async def run"):
        declaration(Empty, "pipeline.py")


def test_run_must_be_async() -> None:
    with pytest.raises(PipelineRefused, match=r"Blocking\.run is not a pipeline. Write `async def run"):
        choose(module(Blocking=Blocking), "p.py", "Blocking")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"priority": 11}, "Hasty.priority has value 11. Write a whole number from -10 to 10."),
        ({"priority": True}, "Hasty.priority has value True. Write a whole number"),
        ({"rate_limit": 3}, 'Hasty.rate_limit has value 3. Write rate(10, "1 hour").'),
    ],
)
def test_an_order_that_nobody_could_keep_is_refused(wrong: dict[str, object], told: str) -> None:
    hasty = type("Hasty", (Ship,), wrong)
    with pytest.raises(PipelineRefused, match=re.escape(told)):
        declaration(hasty, "pipeline.py")
