"""`stepwell demo --once --json` plays the whole story by itself, wherever it is started."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ordinary
import pytest
from command_line import BIN, Terminal
from lent_tools import keep, lend

ROUNDS = 10 if os.environ.get("STEPWELL_SOAK") else 2
pytestmark = pytest.mark.timeout(900)
STEPS = ["lint#1", "types#1", "test memory#1", "test sqlite#1", "version#1"]


def _story(
    person: Terminal, *before: str, program: tuple[str, ...] = (str(BIN / "stepwell"),)
) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [*before, *program, "demo", "--once", "--json", "--state", str(person.home / "demo")],
        cwd=person.home, env=person.environment, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout
    return json.loads(done.stdout), done.stderr


def _assert_told(story: dict[str, Any]) -> None:
    assert set(story) == {
        "run", "state", "steps", "push_start_to_first_output_ms", "push_done_to_first_output_ms", "total_ms",
    }  # fmt: skip
    assert story["state"] == "passed"
    assert [step["key"] for step in story["steps"]][:5] == STEPS
    assert {step["state"] for step in story["steps"]} == {"passed"}
    assert 0 < story["push_start_to_first_output_ms"] < story["total_ms"]


def test_demo_passes_again_and_again_on_one_state(tmp_path: Path, tools_kept: Path) -> None:
    person = Terminal(tmp_path)
    runs = []
    for _ in range(ROUNDS):
        story, said = _story(person)
        _assert_told(story)
        assert "remote: stepwell: run #" in said
        assert "links 1.0." in said and "is live" in said
        assert "a key that only the deployment sees" not in said
        runs.append(story["run"])
    assert len(set(runs)) == ROUNDS
    keep(tmp_path / "demo", tools_kept)


@pytest.mark.root
def test_demo_passes_for_an_ordinary_user_without_docker() -> None:
    with ordinary.home() as home:
        person = Terminal(home, {"DOCKER_HOST": "unix:///nonexistent", **ordinary.packages()})
        story, _ = _story(person, *ordinary.become(), program=ordinary.program())
    _assert_told(story)


def test_demo_without_user_namespaces_goes_on_under_a_banner(tmp_path: Path, tools_kept: Path) -> None:
    """The limit is one of a user namespace: it holds for this demo alone, not for the machine."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare of util-linux")
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    wrapped = ["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", forbid, "sh"]
    if subprocess.run([*wrapped, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this host gives no user namespace to try it in")
    lend(tools_kept, tmp_path / "demo")
    story, said = _story(Terminal(tmp_path), *wrapped)
    _assert_told(story)
    assert "WITHOUT the wall" in said
    assert "max_user_namespaces" in said
