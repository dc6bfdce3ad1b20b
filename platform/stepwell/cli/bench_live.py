"""What people see while things happen: an event in 1,000 open pages, and a long log's first line on a screen."""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from urllib.parse import urlsplit

import httpx

from stepwell.cli.bench import Sample
from stepwell.cli.measured_place import Place, place, take_descriptors
from stepwell.errors import Unavailable

VIEWERS = 1_000
AT_ONCE = 50
SAMPLES = 20
WAIT_SECONDS = 60
REST_MS = 500
"""Until a new window has built itself: it takes as much of the processors as the page does."""
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_FIRST_LINE = """window.firstLine = new Promise((seen) => {
  const shown = (list) => seen(list.getEntries()[0].renderTime);
  new PerformanceObserver(shown).observe({ type: 'element', buffered: true });
  new MutationObserver((_, self) => {
    const line = document.querySelector('#log li');
    if (!line) return;
    line.setAttribute('elementtiming', 'line');
    self.disconnect();
  }).observe(document, { childList: true, subtree: true });
});"""
"""Notes when the frame with the first line came on the screen, as the browser tells it, in milliseconds since the
navigation began."""


class _Viewer(asyncio.Protocol):
    """One open page: a connection that notes when it was last told `run`."""

    def __init__(self, request: bytes) -> None:
        self.told = asyncio.Event()
        self.at = 0.0
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if b"event: run\n" in self._rest and self._rest.endswith(b"\n\n\r\n"):
            self._rest, self.at = b"", time.perf_counter()
            self.told.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.told.set()


async def viewers_event_ms(at: Place, viewers: int = VIEWERS, samples: int = SAMPLES) -> list[float]:
    """From sending a run an event until the last of its viewers has been told."""
    parts = urlsplit(at.url)
    host, port = str(parts.hostname), int(parts.port or 80)
    # A page that has seen nothing yet is told at once: then its stream is open.
    head = f"GET {at.waiting}/stream HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: stepwell={at.cookie}\r\n\r\n"
    open_pages = [_Viewer(head.encode()) for _ in range(viewers)]
    loop, found = asyncio.get_running_loop(), []
    async with AsyncExitStack() as kept:
        web = await kept.enter_async_context(httpx.AsyncClient(base_url=at.url, headers=_who(at), timeout=WAIT_SECONDS))
        for start in range(0, viewers, AT_ONCE):
            some = open_pages[start : start + AT_ONCE]
            for viewer in some:
                await loop.create_connection(partial(_same, viewer), host, port)
                kept.callback(viewer.transport.close)
            await _all_told(some)
        for number in range(samples + 1):
            for viewer in open_pages:
                viewer.told.clear()
            begun = time.perf_counter()
            answer = await web.post(f"/api/v1/runs/{at.waiting_id}/events", json={"type": "seen", "payload": number})
            answer.raise_for_status()
            await _all_told(open_pages)
            found.append((max(viewer.at for viewer in open_pages) - begun) * 1000)
            await asyncio.sleep(0.2)  # pages of people rest between two events
    return found[1:]  # the first one warms up


def _same(viewer: _Viewer) -> _Viewer:
    return viewer


async def _all_told(viewers: list[_Viewer]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        for viewer in viewers:
            await viewer.told.wait()
    if any(viewer.transport.is_closing() for viewer in viewers):
        raise Unavailable("The server closed a viewer's connection. Measure on a quiet machine.")


def _who(at: Place) -> dict[str, str]:
    return {"Authorization": f"Bearer {at.token}"}


def log_first_line_ms(at: Place, samples: int = 10) -> list[float]:
    """From the click until the first line of 100,000 is on the screen, in a tab at rest with an empty cache."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise Unavailable("There is no Chromium on PATH. Install the package chromium.")
    try:
        sync_playwright = import_module("playwright.sync_api").sync_playwright  # a tool of developers, no dependency
    except ImportError as error:
        raise Unavailable("The package playwright is not installed. It comes with stepwell[dev].") from error
    found = []
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=list(FLAGS)) as browser:
        for _ in range(samples + 1):
            with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
                context.add_cookies([{"name": "stepwell", "value": at.cookie, "url": at.url}])
                page = context.new_page()
                page.add_init_script(_FIRST_LINE)
                page.goto(f"{at.url}/healthz")  # no file of the page's; what opens is a page, not a window
                page.wait_for_timeout(REST_MS)
                page.goto(f"{at.url}{at.passed}?step=noise")
                found.append(float(page.evaluate("window.firstLine")))
    return found[1:]


def _viewers() -> Sample:
    take_descriptors()
    return Sample(tuple(asyncio.run(viewers_event_ms(place()))), "ms")


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "viewers_event_ms": _viewers,
    "log_first_line_ms": lambda: Sample(tuple(log_first_line_ms(place())), "ms"),
}
