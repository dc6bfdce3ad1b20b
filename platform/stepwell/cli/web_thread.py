"""The web in a thread of its own. Its libraries take longer to import than all the rest: only entering it does that."""

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stepwell.errors import Bug

if TYPE_CHECKING:
    import socket

    import uvicorn
    from fastapi import FastAPI

    from stepwell.ci.services import Services

START_SECONDS = 30
STOP_SECONDS = 10


class WebThread:
    """uvicorn in a thread of its own: the main thread stays free for signals and commands."""

    def __init__(self, services: "Services", banner: str, listening: "socket.socket") -> None:
        self._services = services
        self._banner = banner
        self._listening = listening
        self._failure: BaseException | None = None
        self._server: uvicorn.Server | None = None
        self._app: FastAPI
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def __enter__(self) -> Self:
        import uvicorn

        from stepwell_web.app import create_app
        from stepwell_web.connections import bounded

        self._app = create_app(self._services, banner=self._banner)
        # Never uvloop: it closes a pipe's descriptor twice, and the second one may be the engine's by then.
        config = uvicorn.Config(
            self._app, http=bounded(self._services.settings.connections_per_address), ws="none", loop="asyncio",
            log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2,
            timeout_keep_alive=30,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread.start()
        until = time.monotonic() + START_SECONDS
        while not self._server.started:
            self.check()
            if time.monotonic() > until:
                raise Bug(f"The web did not start within {START_SECONDS} s. Please report, with the log above.")
            time.sleep(0.005)
        return self

    def _run(self) -> None:
        assert self._server is not None
        try:
            self._server.run(sockets=[self._listening])
        except BaseException as error:  # reported by check(), on the main thread
            self._failure = error

    def check(self) -> None:
        """Raise what ended the thread, if it has ended."""
        if not self._thread.is_alive():
            raise Bug(f"The web has stopped by itself ({self._failure!r}). Please report.") from self._failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._app.state.web.hub.close()  # or open live streams would have to be waited for
            self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
