"""The service as a WSGI application: POST / with a URL as body, GET /<code> to follow it."""

from collections.abc import Callable, Iterable
from typing import Any

from links.codes import decode, encode
from links.store import Store

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]


class App:
    """Answers requests from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        status, headers, body = self._answer(environ)
        start(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
        return [body.encode()]

    def _answer(self, environ: Environ) -> tuple[str, list[tuple[str, str]], str]:
        if environ["REQUEST_METHOD"] == "POST":
            return self._shorten(environ)
        return self._follow(str(environ["PATH_INFO"]).lstrip("/"))

    def _shorten(self, environ: Environ) -> tuple[str, list[tuple[str, str]], str]:
        url = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        if not url.startswith(("http://", "https://")):
            return "400 Bad Request", [], "Send a URL that begins with http:// or https://.\n"
        return "201 Created", [], f"/{encode(self._store.add(url))}\n"

    def _follow(self, code: str) -> tuple[str, list[tuple[str, str]], str]:
        try:
            url = self._store.get(decode(code)) if code else None
        except ValueError:
            url = None
        if url is None:
            return "404 Not Found", [], "No such link.\n"
        return "302 Found", [("Location", url)], ""
