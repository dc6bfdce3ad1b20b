"""One artifact among many is found by its path, without a list of all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fixture_people import ADMIN

from stepwell.ci.artifacts import Artifact, Artifacts
from stepwell.ci.runs import Runs
from stepwell.errors import NotFound
from stepwell.store.blobs import BlobFiles


def test_one_is_found_in_a_list_that_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobFiles(tmp_path)
    batch = blobs.batch("run")
    listed = {"blobs": ["0" * 64, "1" * 64], "artifacts": [[f"f{n}", n, n % 2] for n in range(100)]}
    id, size = batch.add_bytes(json.dumps(listed).encode())
    batch.keep()
    step = SimpleNamespace(name="build", collected={"id": id, "size": size, "artifacts": 100})
    found = Artifacts(cast(Runs, SimpleNamespace(step=lambda *_: step)), blobs)
    reads: list[Any] = []
    whole = blobs.whole

    def counted(*asked: Any) -> Any:
        reads.append(asked)
        return whole(*asked)

    monkeypatch.setattr(blobs, "whole", counted)
    for number in (3, 98):
        assert found.find(ADMIN, "run", "build#1", f"f{number}") == Artifact(
            "build#1", "build", f"f{number}", number, str(number % 2) * 64
        )
    with pytest.raises(NotFound, match="kept no artifact 'none'"):
        found.find(ADMIN, "run", "build#1", "none")
    assert len(reads) == 1
