"""Options of steps, as a stranger's code may ask for them."""

from typing import Any

import pytest

from stepwell.authoring.options import approval_options, file, run_options
from stepwell.engine.asked_options import refusal
from stepwell.engine.commands import Malformed, asked
from stepwell.engine.live import Live
from stepwell.engine.state import RunState


@pytest.mark.parametrize(
    ("kind", "options", "wrong"),
    [
        ("run", {}, "command"),
        ("run", {"command": {}}, "command"),
        ("run", {"command": "x", "timeout": float("inf")}, "timeout"),
        ("run", {"command": "x", "timeout": "soon"}, "timeout"),
        ("run", {"command": "x", "retries": {"max": "many"}}, "retries"),
        ("run", {"command": "x", "retries": {"max": 1, "jitter": 1.5}}, "retries"),
        ("run", {"command": "x", "retries": {"max": 1, "delay": float("inf")}}, "retries"),
        ("run", {"command": "x", "retries": {"max": 1, "backoff": "quadratic"}}, "retries"),
        ("run", {"command": "x", "tools": 5}, "tools"),
        ("run", {"command": "x", "secrets": {"A": {"file": 1}}}, "secrets"),
        ("run", {"command": "x", "environment": ["production"]}, "environment"),
        ("run", {"command": "x", "env": {"A": 1}}, "env"),
        ("run", {"command": "x", "artifacts": "dist"}, "artifacts"),
        ("run", {"command": "x", "cache": [{"key": "a", "paths": ["../x"], "fallback": []}]}, "cache"),
        ("run", {"command": "x", "cache": [{"key": "a", "paths": ["./x"], "fallback": []}]}, "cache"),
        ("run", {"command": "x", "artifacts": ["[z-a]"]}, "artifacts"),
        ("run", {"command": "x", "junit": ["a"] * 101}, "junit"),
        ("read", {}, "path"),
        ("read", {"path": 1}, "path"),
        ("approval", {"reviewers": 5}, "reviewers"),
        ("approval", {"count": "two"}, "count"),
        ("approval", {"count": 10**30}, "count"),
        ("approval", {"fields": ["a"]}, "fields"),
        ("approval", {"fields": {"a": {}}}, "fields"),
        ("event", {"type": None, "timeout": []}, "timeout"),
        ("image", {"environment": "production"}, "environment"),
        ("read", {"path": "a", "secrets": ["A"]}, "secrets"),
        ("sleep", {"environment": "production"}, "environment"),
        ("approval", {"environment": "production", "secrets": ["A"]}, "secrets"),
    ],
)
def test_an_option_of_another_shape_is_named(kind: str, options: dict[str, Any], wrong: str) -> None:
    assert refusal(kind, options) == wrong


def test_everything_that_an_author_may_write_passes() -> None:
    given: dict[str, Any] = {
        "tools": ["ruff==1"], "image": "i", "python": "3.11", "setup": "s", "setup_inputs": ["a"], "env": {"A": 1},
        "secrets": {"A": "B", "C": file("D")}, "environment": "e", "network": ["h"], "cwd": "a", "timeout": "1 hour",
        "retries": 3, "check": False, "keep": True, "junit": ["j"], "artifacts": ["a"], "memory": "1 GB", "cpu": 0.5,
    }  # fmt: skip
    assert refusal("run", run_options(["a", "b"], given, {})) == ""
    fields = {"a": "x", "b": ["c", "d"], "e": True, "f": -1.5}
    asked = approval_options("ok?", {"environment": "e", "reviewers": ["r"], "count": 2, "fields": fields})
    assert refusal("approval", asked) == ""
    assert refusal("event", {"type": "t", "timeout": None}) == refusal("sleep", {"seconds": 1}) == ""


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "k", "run", "n", "f", {"command": "x", "env": {"A": "x" * 300_000}}, None, "w", 0],
        ["ask", "k", "sleep", "n", "f", {"unknown": "x" * 300_000}, 1.0, "w", 0],
        ["ask", "k", "approval", "n", "f", {"reviewers": 5}, None, "w", 0],
    ],
)
def test_what_nobody_could_write_is_not_kept(command: list[Any]) -> None:
    with pytest.raises(Malformed, match="option"):
        asked(Live(RunState("r"), 0, 0), command)
