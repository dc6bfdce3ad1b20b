"""Answers of code that nobody vouches for, before they become rows."""

import json
from typing import Any

import pytest

from stepwell.ci.describing import _understood
from stepwell.ci.views import Problem


def understood(**pipeline: Any) -> Any:
    told = {"name": "Ship", "entry": "pipeline.py:Ship", **pipeline}
    return _understood(json.dumps({"ok": True, "pipelines": [told]}).encode())


def test_what_a_pipeline_declares_is_kept() -> None:
    on = [
        {"kind": "push", "branches": ["main"], "paths": ["src/**"]},
        {"kind": "tag", "patterns": ["v*"]},
        {"kind": "cron", "schedule": "0 3 * * *", "tz": "Europe/Berlin"},
        {"kind": "manual", "inputs": {"target": ["a", "b"]}},
    ]
    group = {"group": "ship-{branch}", "policy": "cancel"}
    order = {"concurrency": group, "rate_limit": {"key": "k", "runs": 2, "seconds": 60.0}, "priority": -3}
    (found,) = understood(on=on, **order, doc="d", line=3)["pipelines"]
    assert found == {
        "name": "Ship", "entry": "pipeline.py:Ship", "doc": "d", "line": 3, "on": on, **order
    }  # fmt: skip


@pytest.mark.parametrize(
    "pipeline",
    [
        {"on": [{"kind": "cron", "schedule": "nonsense", "tz": "UTC"}]},
        {"on": [{"kind": "cron", "schedule": "0 0-99999999999 * * *", "tz": "UTC"}]},
        {"on": [{"kind": "cron", "schedule": "0 3 * * *", "tz": "../../etc/passwd"}]},
        {"on": [{"kind": "cron", "schedule": "0 3 * * *", "tz": "No/Where"}]},
        {"on": [{"kind": "push", "branches": [1]}]},
        {"on": [{"kind": "push", "branches": "main"}]},
        {"on": [{"kind": "push", "branches": ["x" * 5000]}]},
        {"on": [{"kind": "tag", "patterns": ["[z-a]"]}]},
        {"on": [{"kind": "manual", "inputs": {"x": {}}}]},
        {"on": [{"kind": "manual", "inputs": [1]}]},
        {"on": [{"kind": "teapot"}]},
        {"on": ["push"]},
        {"on": [{"kind": "tag"}] * 1000},
        {"concurrency": {"group": "g"}},
        {"concurrency": {"group": 5, "policy": "cancel"}},
        {"concurrency": {"group": "g", "policy": []}},
        {"rate_limit": {"key": "k", "runs": 2}},
        {"rate_limit": {"key": 5, "runs": 2, "seconds": 60}},
        {"rate_limit": {"key": "k", "runs": 10**9, "seconds": 60}},
        {"rate_limit": {"key": "k", "runs": 1, "seconds": -1}},
        {"rate_limit": {"key": "k", "runs": 1, "seconds": float("nan")}},
        {"rate_limit": [1]},
        {"priority": 11},
        {"priority": "5"},
        {"priority": None},
    ],
)
def test_what_could_not_have_been_declared_is_refused(pipeline: dict[str, Any]) -> None:
    assert isinstance(understood(**pipeline), Problem)


def test_a_long_doc_is_cut() -> None:
    (found,) = understood(doc="d" * 100_000, line="x")["pipelines"]
    assert len(found["doc"]) == 2000 and found["line"] == 0
