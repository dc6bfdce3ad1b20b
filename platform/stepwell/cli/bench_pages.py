"""How long pages take of the server that people have, while it answers 50 requests a second, and how large one is.

Requests are sent when they are due, whether or not the ones before are answered, and each kind of page in turn: what is
measured is the time from that moment to the last byte. Client and server share the machine, so the client does as
little as can be: plain requests on connections that are kept, answers that are counted and not read.
"""

import asyncio
import gzip
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Self
from urllib.parse import urlsplit

import httpx

from stepwell.cli.bench import Sample
from stepwell.cli.measured_place import PLACE, Place, place
from stepwell.errors import Unavailable

RATE = 50
"""Requests a second."""
SAMPLES = 40
WAIT_SECONDS = 120
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ASSET = re.compile(r'(?:src|href)="(/static/[^"]+\.(?:css|js))"|(?:from|import) \'\./(\w+\.js)\'')


def paths(at: Place) -> dict[str, str]:
    """Every kind of page; `run` is that of 200 steps, `run_waiting` the same while it waits for people."""
    run = at.passed
    return {
        "home": "/", "approvals": "/approvals", "search": "/search?q=bench", "playground": "/playground",
        "tokens": "/tokens", "admin": "/admin",
        "tenant": "/home", "tenant_runs": "/home/-/runs", "people": "/home/-/people", "secrets": "/home/-/secrets",
        "usage": "/home/-/usage", "audit": "/home/-/audit", "dead": "/home/-/dead", "runners": "/home/-/runners",
        "repository": PLACE, "runs": f"{PLACE}/runs", "runs_filtered": f"{PLACE}/runs?state=failed&pipeline=Ship",
        "pipelines": f"{PLACE}/pipelines", "environments": f"{PLACE}/environments", "caches": f"{PLACE}/caches",
        "settings": f"{PLACE}/settings",
        "files": f"{PLACE}/files", "file": f"{PLACE}/files?path=module_1.py", "commits": f"{PLACE}/commits",
        "commit": f"{PLACE}/commits/{at.commit}", "branches": f"{PLACE}/branches",
        "run": run, "run_waiting": at.waiting, "run_log": f"{run}?step=noise",
        "log_chunk": f"{run}/log?step=noise&from=50001",
        "timeline": f"{run}/timeline", "changes": f"{at.waiting}/changes", "source": f"{run}/source",
        "tests": f"{run}/tests", "artifacts": f"{run}/artifacts", "journal": f"{run}/journal",
        "review": f"{at.waiting}/review?key=Ship%20it%3F%231",
    }  # fmt: skip


async def under_load(at: Place, wanted: Mapping[str, str], samples: int = SAMPLES) -> dict[str, list[float]]:
    """Ask for each path so many times, RATE requests a second; milliseconds by name."""
    found: dict[str, list[float]] = {name: [] for name in wanted}
    async with _Lines(at) as lines:

        async def ask(name: str, path: str, due: float) -> None:
            await asyncio.sleep(due - time.perf_counter())
            status = await lines.get(path)
            found[name].append((time.perf_counter() - due) * 1000)
            if status != 200:
                raise Unavailable(f"{path} answered {status}.")

        for name, path in wanted.items():  # each once, to have it warm
            await ask(name, path, time.perf_counter())
        begun = time.perf_counter() + 0.1
        asked = [item for _ in range(samples) for item in wanted.items()]
        async with asyncio.TaskGroup() as group:
            for number, (name, path) in enumerate(asked):
                group.create_task(ask(name, path, begun + number / RATE))
    return {name: values[1:] for name, values in found.items()}


class _Lines:
    """Connections to the server, one for each request that waits, kept for the next."""

    def __init__(self, at: Place) -> None:
        parts = urlsplit(at.url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._head = f"Host: {parts.netloc}\r\nCookie: stepwell={at.cookie}\r\nAccept-Encoding: gzip\r\n\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._idle:
            line[1].close()

    async def get(self, path: str) -> int:
        """Ask for a page and take all of it; its status."""
        async with asyncio.timeout(WAIT_SECONDS):
            if self._idle:
                reader, writer = self._idle.pop()
            else:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if length is None:
                raise Unavailable(f"{path} came without its length.")
            await reader.readexactly(int(length[1]))
        self._idle.append((reader, writer))
        return int(head[9:12])


@cache
def _outcome() -> dict[str, list[float]] | Unavailable:
    """Measure once a process, whatever comes of it: every figure would wait for the same again."""
    try:
        at = place()
        return asyncio.run(under_load(at, paths(at)))
    except Unavailable as error:
        return error
    except ExceptionGroup as group:
        if group.split((OSError, EOFError, Unavailable))[1] is not None:  # a timeout is an OSError
            raise
        why = group.exceptions[0]
        return Unavailable(f"{RATE} requests a second were too many: {why!r}. Measure on a quiet machine.")


def _measured() -> dict[str, list[float]]:
    found = _outcome()
    if isinstance(found, Unavailable):
        raise found
    return found


def transferred(at: Place, path: str) -> int:
    """Bytes of a page and of every style and script that it loads, as they come over the line with an empty cache."""
    with httpx.Client(base_url=at.url, cookies={"stepwell": at.cookie}) as web:
        wanted, sizes = [path], dict[str, int]()
        while wanted:
            one = wanted.pop()
            if one in sizes:
                continue
            with web.stream("GET", one, headers={"Accept-Encoding": "gzip"}) as answer:
                body = b"".join(answer.iter_raw())
            packed = answer.headers.get("content-encoding") == "gzip"
            text = (gzip.decompress(body) if packed else body).decode()
            sizes[one] = len(body)
            wanted += [a or f"{one.rpartition('/')[0]}/{b}" for a, b in _ASSET.findall(text)]
    return sum(sizes.values())


def _bytes() -> Sample:
    at = place()
    return Sample((float(transferred(at, f"{at.waiting}?step=unit-1")),), "bytes")


def _page(name: str) -> Callable[[], Sample]:
    return lambda: Sample(tuple(_measured()[name]), "ms")


_NAMES = paths(Place("", "", "", "", "", "", ""))
MEASURES: Mapping[str, Callable[[], Sample]] = {
    **{f"page_{name}_ms": _page(name) for name in _NAMES},
    "run_page_bytes": _bytes,
}
