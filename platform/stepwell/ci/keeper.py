"""The keeper: one thread that deals with pushes a crash has cut short, at start and every minute."""

import logging
import threading
from collections.abc import Callable

EVERY_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
"""Age at which an open intent is taken up: its own push had time enough. At start, every one is."""
STOP_SECONDS = 5.0
_LOGGER = logging.getLogger(__name__)


class Keeper:
    """Calls `reconcile(older_than_seconds)` until it is stopped."""

    def __init__(self, reconcile: Callable[[float], None]) -> None:
        self._reconcile = reconcile
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stepwell-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being done."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        older_than = 0.0
        while not self._stopping.is_set():
            try:
                self._reconcile(older_than)
            except Exception:  # whatever it is, the next minute must come
                _LOGGER.exception("Open pushes could not be dealt with; this is tried again.")
            older_than = PATIENCE_SECONDS
            self._stopping.wait(EVERY_SECONDS)
