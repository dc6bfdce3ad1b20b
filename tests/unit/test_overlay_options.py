"""Overlays do not depend on how the kernel was configured: containers' workspaces are mounted as isolates' are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stepwell_runners import slots
from stepwell_runners import syscalls as sys_
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.container_jobs import Cold
from stepwell_runners.slots import Slot
from stepwell_runners.spec import Overlay
from stepwell_runners.workspaces import Workspace, Workspaces

WANTED = {"redirect_dir=nofollow", "metacopy=off", "index=off", "volatile"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "tree").mkdir()
    return Workspaces(tmp_path / "state", "overlay").open("run", "step#1", (), tmp_path / "tree")


def test_workspace_of_a_container_that_waits(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(sys_, "mount", lambda *arguments: given.append(arguments[-1]))
    assert isinstance(workspace.mount, Overlay)
    Slot(workspace.place).lay(workspace.mount, None)
    assert set(given[0].decode().split(",")) >= WANTED


def test_workspace_that_dockerd_mounts(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    engine = SimpleNamespace(
        volumes=SimpleNamespace(create=lambda **asked: given.update(asked)),
        containers=SimpleNamespace(create=lambda **asked: None),
    )
    monkeypatch.setattr(slots, "write_files", lambda *_: None)
    Cold(engine, {}, {}).job(cast(CommandPlan, SimpleNamespace(files={})), workspace).create()
    assert set(given["driver_opts"]["o"].split(",")) >= WANTED | {"nodev", "nosuid"}
