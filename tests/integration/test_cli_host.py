"""What a server says of its own host: as doctor says it, and what runs keep on its disk."""

from pathlib import Path
from typing import Any, cast

import pytest

from stepwell.ci.runners import FirstOutputs, Standing
from stepwell.cli.doctor import diagnoses
from stepwell.cli.host import LiveHost
from stepwell.settings import Settings
from stepwell_runners import nftables
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.snapshot_notes import SnapshotNotes
from stepwell_runners.spec import Finding
from stepwell_runners.warm_containers import Kind, WarmContainers
from stepwell_runners.workspaces import layers_of


class Parts:
    """An executor with warm containers, and trees that are waited for; each look at the isolates is counted."""

    def __init__(self) -> None:
        self.warm: WarmContainers[Any] = WarmContainers(lambda kind: None, cast("Any", None), size=4)
        self.looks = 0
        self.took: list[float] = []

    def first_outputs(self) -> list[float]:
        return self.took

    def ready(self) -> str:
        return "there is no /dev/fuse"

    def probe(self) -> list[Finding]:
        self.looks += 1
        return [Finding("wall", True, "full"), Finding("Landlock", False, "the kernel has none", "Use a newer kernel.")]


def host(tmp_path: Path) -> tuple[LiveHost, Parts, Settings]:
    settings, parts = Settings(state=tmp_path, blanks=3), Parts()
    isolates = ZygoteIsolates(tmp_path, Path)
    return LiveHost(settings, isolates, cast("Any", parts), cast("Any", parts), parts.probe), parts, settings


def test_abilities_are_what_doctor_says_and_looked_at_once_a_minute(tmp_path: Path) -> None:
    live, parts, settings = host(tmp_path)
    found = live.abilities()
    assert live.abilities() == found
    assert parts.looks == 1
    said = diagnoses(settings, parts.probe(), parts.ready())
    assert [(one.name, one.ok) for one in found] == [(one.name, one.ok) for one in said]
    told = {one.name: one for one in found}
    assert (told["wall"].remedy, told["Landlock"].remedy) == ("", "Use a newer kernel.")
    assert "there is no /dev/fuse" in told["trees"].detail


def told(settings: Settings) -> tuple[bool, str]:
    return next((one.ok, one.detail) for one in diagnoses(settings, [], None) if one.name == "containers")


@pytest.mark.docker
def test_doctor_says_what_containers_reach(tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "replace", lambda *_: None)
    monkeypatch.setattr(nftables, "remove", lambda *_: None)
    assert told(Settings(state=tmp_path, containers_reach="10.1.0.0/16")) == (
        True, "reach public addresses only and 10.1.0.0/16",
    )  # fmt: skip
    open_ = "reach this host and private addresses: "
    assert told(Settings(state=tmp_path, containers_reach="any")) == (False, f"{open_}STEPWELL_CONTAINERS_REACH=any")

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(nftables, "replace", refused)
    assert told(Settings(state=tmp_path)) == (
        False, f"{open_}only root with CAP_NET_ADMIN may make rules of the packet filter",
    )  # fmt: skip


def test_what_stands_ready_is_counted_by_tenant(tmp_path: Path) -> None:
    live, parts, _ = host(tmp_path)
    kinds = [Kind(tenant, image, False, None, None, None) for tenant, image in (("a", "1"), ("a", "2"), ("b", "1"))]
    for kind in kinds:
        parts.warm._uses[kind].waiting.append(object())
    assert live.standing() == Standing(0, 3, {"a": 2, "b": 1}, 4)
    parts.took = [0.01] * 18 + [0.5, 2.0]
    assert live.standing().first_outputs == FirstOutputs(20, 0.01, 0.5)


def test_disk_is_counted_by_run_and_by_repository(tmp_path: Path) -> None:
    live, _, _ = host(tmp_path)
    folder = layers_of(tmp_path, "r1") / "1" / "files"
    folder.mkdir(parents=True)
    (folder / "built").write_bytes(b"x" * 100_000)
    (layers_of(tmp_path, "r1") / "1" / "same").hardlink_to(folder / "built")  # takes nothing more
    first, second = live.layers(["r1", "r2"])
    assert (100_000 <= first < 150_000, second) == (True, 0)
    SnapshotNotes(tmp_path).made("k", "acme/api", "pip install", 700)
    SnapshotNotes(tmp_path, "images").made("i", "acme/api", "", 30)
    SnapshotNotes(tmp_path).made("l", "other/api", "pip install", 5)
    assert live.snapshots() == {"acme/api": 730, "other/api": 5}
