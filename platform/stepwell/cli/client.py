"""The JSON API as the command line uses it: paths in, plain data out, problems as StepwellError."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from stepwell.cli.logins import Login
from stepwell.errors import Bug, Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable

PREFIX = "/api/v1"
SILENCE_SECONDS = 120.0
"""For which an answer is waited for: a loaded server may need long for the first piece of a large workspace."""
_ERRORS: dict[int, type[StepwellError]] = {
    400: Invalid, 403: Denied, 404: NotFound, 409: Conflict, 413: Invalid, 422: Invalid, 503: Unavailable,
}  # fmt: skip


class Client:
    """Speaks to one server. Use as a context manager."""

    def __init__(self, login: Login, transport: httpx.BaseTransport | None = None) -> None:
        self.login = login
        self._http = httpx.Client(
            base_url=login.url + PREFIX,
            headers={"Authorization": f"Bearer {login.token}", "Accept": "application/json"},
            timeout=httpx.Timeout(30, read=SILENCE_SECONDS),
            transport=transport,
            trust_env=False,  # a proxy for the internet is never the way to one's own server
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Read a resource."""
        return self._call("GET", path, query=query).json()

    def post(self, path: str, **body: Any) -> Any:
        """Create or decide something."""
        answer = self._call("POST", path, body=body)
        return answer.json() if answer.content else None

    def put(self, path: str, **body: Any) -> Any:
        """Set something."""
        answer = self._call("PUT", path, body=body)
        return answer.json() if answer.content else None

    def patch(self, path: str, **body: Any) -> Any:
        """Change a part of something."""
        answer = self._call("PATCH", path, body=body)
        return answer.json() if answer.content else None

    def delete(self, path: str, **query: Any) -> Any:
        """Remove something."""
        answer = self._call("DELETE", path, query=query)
        return answer.json() if answer.content else None

    def log(self, run: str, key: str, offset: int, attempt: int | None = None) -> bytes:
        """Read a stretch of a step's log from a byte on; of the run's own log when the key is ""."""
        step = f"/steps/{quote(key, safe='')}" if key else ""
        return self._call(
            "GET", f"/runs/{quote(run, safe='')}{step}/log", {"offset": offset, "attempt": attempt}
        ).content

    def stream(self, path: str, /, **query: Any) -> Iterator[bytes]:
        """Read a file piece by piece."""
        try:
            with self._http.stream("GET", path, params=query) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _problem(answer, self.login.url)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise Unavailable(f"{self.login.url} broke off ({type(error).__name__}). Try again.") from error

    def _call(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            answer = self._http.request(method, path, params=given, json=body)
        except httpx.TransportError as error:
            raise Unavailable(
                f"No Stepwell answers at {self.login.url} ({type(error).__name__}). "
                "Start one with `stepwell up`, or name another with `stepwell login URL`."
            ) from error
        if answer.is_success:
            return answer
        raise _problem(answer, self.login.url)


def _problem(answer: httpx.Response, url: str) -> StepwellError:
    try:
        content = answer.json()
        detail = content.get("detail") or content.get("title") or answer.reason_phrase
    except (ValueError, AttributeError):
        detail = answer.reason_phrase or f"status {answer.status_code}"
    if not isinstance(detail, str):
        detail = str(detail)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return Denied(f"The token for {url} is not accepted: {detail} Sign in again with `stepwell login {url}`.")
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return TryLater(detail, float(answer.headers.get("Retry-After", "1")))
    if known := _ERRORS.get(answer.status_code):
        return known(detail)
    return Bug(f"{url} answered {answer.status_code}: {detail}. This is a fault of Stepwell: its log says more.")
