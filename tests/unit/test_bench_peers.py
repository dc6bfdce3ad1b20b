"""Peers are measured by the rules of `stepwell bench`: names, units, statistics; what cannot be measured is named."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from stepwell.cli.bench import Sample, measures

PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    loaded = []
    for name in ("measured", "compare"):
        spec = importlib.util.spec_from_file_location(name, PEERS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        loaded.append(module)
    yield loaded[0], loaded[1]


def test_statistics_are_those_of_stepwell_bench(modules: tuple[ModuleType, ModuleType]) -> None:
    measured, _ = modules
    values = [float(n) for n in (3, 1, 2, 9, 4, 8, 7)]
    for figure, unit in (("event_to_step_ms", "ms"), ("sequential_steps_per_s", "steps/s")):
        assert measured.as_json(figure, values) == Sample(tuple(values), unit).as_json()


def test_every_compared_figure_is_one_of_stepwell_bench_and_every_peer_has_a_script(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    measured, compare = modules
    assert set(compare.FIGURES) <= set(measures())
    assert {f"peer_{peer.name}.py" for peer in compare.PEERS} == {path.name for path in PEERS.glob("peer_*.py")}
    assert all(name.endswith(tuple(measured.UNITS)) for name in compare.FIGURES)


def test_a_peer_that_cannot_be_measured_is_named_with_the_reason(
    modules: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    _, compare = modules
    monkeypatch.setattr(compare, "CACHE", tmp_path)
    monkeypatch.setattr(compare, "PEERS", (compare.Installed("temporal", (), programs=("no-such-server",)),))
    monkeypatch.setattr(sys, "argv", ["compare.py", "temporal"])
    compare.main()
    assert "* temporal: not measured: no-such-server is not installed on this host." in capsys.readouterr().out


def test_a_table_has_a_column_for_each_that_was_measured(modules: tuple[ModuleType, ModuleType]) -> None:
    _, compare = modules
    one = {"about": "", "figures": {"event_to_step_ms": {"median": 10.5, "p95": 12.0, "unit": "ms", "n": 3}}}
    lines = compare.table({"stepwell": one, "restate": {"about": "", "figures": {}}}).splitlines()
    assert lines[0] == "| median | stepwell | restate |"
    assert "| event_to_step_ms | 10.5 | – |" in lines
