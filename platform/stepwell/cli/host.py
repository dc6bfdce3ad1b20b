"""The host of a running server, for the page of runners: what `stepwell doctor` would say, and what stands ready."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from stepwell.ci.runners import Ability, FirstOutputs, Standing
from stepwell.cli.doctor import diagnoses
from stepwell.settings import Settings
from stepwell.store.taken import taken
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.lazy import Lazy
from stepwell_runners.snapshot_notes import SnapshotNotes
from stepwell_runners.spec import Finding
from stepwell_runners.workspaces import layers_of

FRESH_SECONDS = 60.0


class LiveHost:
    """Implements stepwell.ci.runners.Host. `probe` asks the isolates on their own loop."""

    def __init__(
        self, settings: Settings, isolates: ZygoteIsolates, executor: LocalExecutor, lazy: Lazy,
        probe: Callable[[], list[Finding]],
    ) -> None:  # fmt: skip
        self.name = socket.gethostname()
        self._settings = settings
        self._isolates = isolates
        self._executor = executor
        self._lazy = lazy
        self._probe = probe
        self._looking = threading.Lock()
        self._known: tuple[float, Sequence[Ability]] | None = None

    def abilities(self) -> Sequence[Ability]:
        """Look at the host, once a minute at most; who asks while somebody looks is told what was seen before."""
        known = self._known
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        if not self._looking.acquire(blocking=known is None):
            assert known is not None
            return known[1]
        try:
            if self._known is known:
                found = diagnoses(self._settings, self._probe(), self._lazy.ready())
                told = [Ability(one.name, one.ok, one.detail, "" if one.ok else one.remedy) for one in found]
                self._known = time.monotonic(), told
            assert self._known is not None
            return self._known[1]
        finally:
            self._looking.release()

    def standing(self) -> Standing:
        """Count what stands ready."""
        warm, took = self._executor.warm, self._executor.first_outputs()
        first = FirstOutputs(len(took), took[len(took) // 2], took[round(0.95 * (len(took) - 1))]) if took else None
        blanks, wanted = len(self._isolates.standing()), max(self._settings.blanks, self._isolates.wanted())
        return Standing(blanks, wanted, warm.by_tenant(), warm.size, first)

    def forget_repository(self, scope: str, repository: str) -> bool:
        """Remove trees, pins and images of a repository that is gone."""
        return self._executor.forget_repository(scope, repository)

    def layers(self, runs: Sequence[str]) -> Sequence[int]:
        """Count what the layers of runs take."""
        return taken([layers_of(self._settings.state, run) for run in runs])

    def snapshots(self) -> Mapping[str, int]:
        """Count what `setup=` and `step.image` have left in the container engine, on top of their images."""
        sizes: Counter[str] = Counter()
        for name in ("snapshots", "images"):
            for note in SnapshotNotes(self._settings.state, name).all():
                sizes[note.scope] += note.size
        return sizes
