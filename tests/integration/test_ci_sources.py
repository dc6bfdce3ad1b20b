"""The source of runs as their authors wrote it, whatever the branch says by now."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SHIP, Place

from stepwell.errors import NotFound
from stepwell.tenants import NOBODY

CHECK = SHIP.replace("Ship(", "Check(")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("sources")).start()
    yield place
    place.stop()


def test_a_run_shows_the_source_of_its_own_commit(place: Place) -> None:
    clone = place.repository("own")
    clone.pipeline(SHIP)
    clone.push()
    clone.pipeline(CHECK)
    clone.push()
    newer, older = clone.runs()
    read = place.services.sources.of
    assert read(place.admin(), older).files == {"pipeline.py": SHIP}
    assert read(place.admin(), newer).files == {"pipeline.py": CHECK}
    where = place.waiting(older.id).steps[0].where
    name, _, line = where.partition(":")
    assert 'step.run("test", "true")' in SHIP.splitlines()[int(line) - 1]
    assert name == ".stepwell/pipeline.py"


def test_a_source_that_is_no_text_says_which_file(place: Place, tmp_path: Path) -> None:
    clone = place.repository("binary")
    (clone.path / ".stepwell").mkdir()
    (clone.path / ".stepwell" / "logo.bin").write_bytes(b"\xff\xfe\x00")
    clone.pipeline(SHIP)
    clone.push()
    (run,) = clone.runs()
    found = place.services.sources.of(place.admin(), run)
    assert found.files == {}
    assert "logo.bin" in found.problem


def test_strangers_read_no_source(place: Place) -> None:
    clone = place.repository("closed")
    clone.pipeline(SHIP)
    clone.push()
    (run,) = clone.runs()
    for actor in (NOBODY, place.person("sam")):
        with pytest.raises(NotFound):
            place.services.sources.of(actor, run)
