"""Artifacts: the files that a run's steps were told to keep, for whoever may see the run.

Names and contents were chosen by a stranger's command. A name here is text, never a path of this host: files are found
by what is in them, within their own run.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stepwell.ci.runs import Runs
from stepwell.ci.views import RunView, StepView
from stepwell.errors import NotFound
from stepwell.store.blobs import BlobFiles
from stepwell.store.pieces import Pieces
from stepwell.tenants.actors import Actor

if TYPE_CHECKING:
    from stepwell.engine.state import StepState

LISTS = 64
"""Lists of files that are kept for the next view."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Artifact:
    """A file. `key` and `step` say which step kept it, `size` is in bytes, `id` its SHA-256."""

    key: str
    step: str
    path: str
    size: int
    id: str


class Artifacts:
    """Lists and reads artifacts. Blocks; for any thread but the engine's."""

    def __init__(self, runs: Runs, blobs: BlobFiles) -> None:
        self._runs = runs
        self._blobs = blobs
        self._manifests = lru_cache(LISTS)(self._read_list)
        self._by_path = lru_cache(LISTS)(self._index)

    def listed(self, actor: Actor, run_id: str, key: str | None = None) -> list[Artifact]:
        """Return those of a run, or of one of its steps. Raises NotFound, Unavailable."""
        view = self._runs.get(actor, run_id)
        if key is not None and all(step.key != key for step in view.steps):
            raise NotFound(f"Run #{view.summary.number} has no step {key!r}.")
        return self.of(view, key)

    def of(self, view: RunView, key: str | None = None) -> list[Artifact]:
        """Return those of a run that the caller has seen."""
        steps = [step for step in view.steps if key in (None, step.key) and kept_by(step)]
        return [one for step in steps for one in self._of(view.summary.id, step)]

    def find(self, actor: Actor, run_id: str, key: str, path: str) -> Artifact:
        """Return one by the path that it had in the workspace. Raises NotFound."""
        step = self._runs.step(actor, run_id, key)
        if kept_by(step):
            assert step.collected is not None
            found = self._by_path(run_id, str(step.collected["id"]), int(step.collected["size"])).get(path)
            if found is not None:
                return Artifact(key, step.name, path, *found)
        raise NotFound(f"Step {key!r} kept no artifact {path[:200]!r}.")

    def read(self, run_id: str, artifact: Artifact, size: int | None = None) -> Iterator[bytes]:
        """Give the content, or its first `size` bytes, piece by piece. Raises NotFound, Unavailable."""
        self._require(run_id, [artifact])
        return self._blobs.whole(run_id, artifact.id, artifact.size if size is None else min(size, artifact.size))

    def zipped(self, run_id: str, artifacts: Sequence[Artifact]) -> Iterator[bytes]:
        """Give a ZIP file of them, one piece after the other. Raises NotFound, Unavailable."""
        self._require(run_id, artifacts)
        return self._zipped(run_id, artifacts)

    def _zipped(self, run_id: str, artifacts: Sequence[Artifact]) -> Iterator[bytes]:
        sink = Pieces()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, one in _named(artifacts).items():
                about = zipfile.ZipInfo(name, _ZIP_DATE)
                about.compress_type, about.file_size = zipfile.ZIP_DEFLATED, one.size
                with archive.open(about, "w") as member:
                    for piece in self.read(run_id, one):
                        member.write(piece)
                        yield sink.taken()
                yield sink.taken()
        yield sink.taken()

    def removed_at(self, run_id: str, found: Sequence[Artifact]) -> Mapping[Artifact, float]:
        """Say which of these retention has removed, and when."""
        at = self._blobs.expired_at(run_id)
        return {} if at is None else {one: at for one in found if not self._blobs.has(run_id, one.id)}

    def _require(self, run_id: str, wanted: Sequence[Artifact]) -> None:
        if gone := self.removed_at(run_id, wanted):
            one, at = next(iter(gone.items()))
            day = datetime.fromtimestamp(at, UTC).date()
            more = f" and {len(gone) - 1} more were" if len(gone) > 1 else " was"
            raise NotFound(
                f"Artifact {one.path[:200]!r}{more} removed on {day} by retention: how long artifacts are kept is the "
                "operator's setting STEPWELL_KEEP_ARTIFACTS_DAYS, or the repository's own. Run it again to have them."
            )

    def _of(self, run_id: str, step: StepView) -> Iterator[Artifact]:
        manifest = self.manifest(run_id, step)
        blobs = manifest["blobs"]
        return (Artifact(step.key, step.name, path, size, blobs[n]) for path, size, n in manifest["artifacts"])

    def manifest(self, run_id: str, step: StepView) -> Mapping[str, Any]:
        """Return the list of all files that a step kept. Raises Unavailable."""
        assert step.collected is not None
        return self._manifests(run_id, str(step.collected["id"]), int(step.collected["size"]))

    def _index(self, run_id: str, id: str, size: int) -> Mapping[str, tuple[int, str]]:
        """Return size and SHA-256 by path; of two files that are shown alike, the first."""
        manifest = self._manifests(run_id, id, size)
        return {path: (size, manifest["blobs"][n]) for path, size, n in reversed(manifest["artifacts"])}

    def _read_list(self, run_id: str, id: str, size: int) -> Mapping[str, Any]:
        manifest: Mapping[str, Any] = json.loads(b"".join(self._blobs.whole(run_id, id, size)))
        return manifest


def kept_by(step: "StepView | StepState") -> int:
    """Say how many artifacts a step has kept."""
    return int((step.collected or {}).get("artifacts") or 0)


def count(view: RunView) -> int:
    """Say how many artifacts a run has."""
    return sum(map(kept_by, view.steps))


def _named(artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """Give each a name of its own that is a path inside wherever it is unpacked, on Windows too."""
    steps = len({one.key for one in artifacts})
    named: dict[str, Artifact] = {}
    for one in artifacts:
        folder = f"{one.key.replace('/', '_')}/" if steps > 1 else ""
        name = f"{folder}{one.path}".replace("\\", "_").replace(":", "_").replace("\0", "_")
        named[name if name not in named else f"{name}~{one.id[:8]}"] = one
    return named
