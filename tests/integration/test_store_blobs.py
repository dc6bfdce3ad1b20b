"""Blobs as files: whole and named by their content, or not there."""

import hashlib
import json
from pathlib import Path

import pytest

from stepwell.errors import Unavailable
from stepwell.store.blobs import BlobFiles
from stepwell.store.removals import removals_held


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")


def kept(blobs: BlobFiles, run: str, *pieces: bytes) -> str:
    writer = blobs.writer(run)
    for piece in pieces:
        writer.write(piece)
    return writer.keep()


def test_a_blob_is_named_by_its_content_and_read_piece_by_piece(blobs: BlobFiles) -> None:
    id = kept(blobs, "r", b"abc", b"def")
    assert id == hashlib.sha256(b"abcdef").hexdigest() == kept(blobs, "r", b"abcdef")
    assert [blobs.read("r", id, at, 4) for at in (0, 4, 8)] == [b"abcd", b"ef", b""]


def test_a_blob_is_its_runs_alone(blobs: BlobFiles) -> None:
    id = kept(blobs, "r", b"secret")
    with pytest.raises(Unavailable, match="cannot be read: No such file"):
        blobs.read("other", id, 0, 1)
    blobs.adopt("other", "r", [id, id])
    blobs.remove("r")
    assert blobs.read("other", id, 0, 9) == b"secret"
    with pytest.raises(Unavailable, match="is not kept any more"):
        blobs.adopt("third", "r", [id])


def test_a_batch_is_there_as_a_whole_and_adopted_by_its_list(blobs: BlobFiles, tmp_path: Path) -> None:
    batch = blobs.batch("r")
    ids = [batch.add_bytes(content)[0] for content in (b"one", b"two", b"one")]
    list_id, size = batch.add_bytes(json.dumps({"blobs": ids[:2]}).encode())
    with pytest.raises(Unavailable):
        blobs.whole("r", ids[0], 3)
    batch.keep()
    batch.drop()
    blobs.adopt("other", "r", [], [list_id])
    blobs.remove("r")
    assert b"".join(blobs.whole("other", ids[1], 3)) == b"two" and len(list((tmp_path / "blobs").iterdir())) == 2
    assert len(b"".join(blobs.whole("other", list_id, size))) == size
    with pytest.raises(Unavailable, match="is not kept any more"):
        blobs.adopt("third", "other", [], [ids[0]])  # no list


@pytest.mark.parametrize("id", ["", "..", "../../etc/passwd", "x" * 64, "A" * 64, "0" * 63])
def test_what_is_no_id_is_never_a_path(blobs: BlobFiles, id: str) -> None:
    with pytest.raises(Unavailable, match="There is no blob"):
        blobs.read("r", id, 0, 1)


def test_what_was_being_written_at_a_crash_is_gone_at_the_next_start(blobs: BlobFiles, tmp_path: Path) -> None:
    id = kept(blobs, "r", b"whole")
    blobs.writer("r").write(b"half")
    assert len(list((tmp_path / "blobs" / "new").iterdir())) == 1
    blobs.recover()
    assert not (tmp_path / "blobs" / "new").exists()
    assert blobs.read("r", id, 0, 9) == b"whole"


def test_a_backup_that_is_being_made_keeps_what_a_run_leaves_behind(blobs: BlobFiles, tmp_path: Path) -> None:
    id = kept(blobs, "r", b"x")
    with removals_held(tmp_path):
        blobs.clear("r")
        assert blobs.read("r", id, 0, 1) == b"x"
    blobs.clear("r")
    with pytest.raises(Unavailable):
        blobs.read("r", id, 0, 1)


def test_a_dropped_blob_leaves_nothing(blobs: BlobFiles, tmp_path: Path) -> None:
    writer = blobs.writer("r")
    writer.write(b"x")
    writer.drop()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
