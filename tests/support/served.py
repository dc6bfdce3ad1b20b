"""The app over services in memory, at an address."""

import threading
import time
from pathlib import Path

import uvicorn
from fixture_runs import NOW
from fixture_services import FixtureServices, services
from live import free_port

from stepwell_web import app as web_app
from stepwell_web.templating import Templates


class Served:
    """The app at an address, its clock standing still."""

    def __init__(self, state: Path, empty: bool, banner: str = "") -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.services: FixtureServices = services(state, empty, self.url)
        app = web_app.create_app(self.services, banner)  # type: ignore[arg-type]
        object.__setattr__(app.state.web, "templates", Templates(lambda: NOW))
        port = int(self.url.rpartition(":")[2])
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Served":
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
