"""What steps gave back, whole: results that are too large for a journal are not in what runs show of themselves."""

import json
from collections.abc import Iterator

from stepwell.ci.runs import Runs
from stepwell.errors import NotFound
from stepwell.store.blobs import BlobFiles
from stepwell.tenants.actors import Actor


class Results:
    """Results of steps, for whoever may see their run. Blocks; for any thread but the engine's."""

    def __init__(self, runs: Runs, blobs: BlobFiles) -> None:
        self._runs = runs
        self._blobs = blobs

    def read(self, actor: Actor, run_id: str, key: str) -> Iterator[bytes]:
        """Return the JSON of a passed step's result, piece by piece. Raises NotFound, Unavailable."""
        view = self._runs.get(actor, run_id)
        step = next((step for step in view.steps if step.key == key), None)
        if step is None or step.state != "passed":
            raise NotFound(f"Run #{view.summary.number} has no step {key!r} that has passed.")
        if step.blob is None:
            return iter([json.dumps(step.value, ensure_ascii=False).encode("utf-8", "replace")])
        id, size = str(step.blob["id"]), int(step.blob["size"])
        return self._blobs.whole(view.summary.id, id, size)
