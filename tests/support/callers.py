"""People and programs who insist: what a dying server did not answer they ask again, as careful clients do."""

import threading
import time
from typing import Any

import httpx
from live import LiveServer

PATIENCE = 120.0
"""Seconds after which a request that is never answered fails the test."""
_LATER = frozenset({429, 503})


class Callers:
    """Start runs, send each its event, approve whatever asks; what was acknowledged is kept here."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.runs: dict[int, str] = {}  # number → id, acknowledged
        self.told: set[int] = set()  # numbers whose event was acknowledged
        self.approved: set[str] = set()  # runs whose approval was acknowledged
        self._over = threading.Event()
        self._approver = threading.Thread(target=self._approve_all, daemon=True)

    def __enter__(self) -> "Callers":
        self._approver.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._approver.join(PATIENCE)

    def start(self, number: int) -> None:
        """Start one run under a key that is its own, and send it the event it will wait for."""
        body = {"inputs": {"number": str(number)}}
        run = self._insist("POST", "/repos/acme/storm/runs", body, {"Idempotency-Key": f"storm {number}"})
        self.runs[number] = str(run["id"])
        self._insist("POST", f"/runs/{run['id']}/events", {"type": "go", "payload": number, "id": f"go {number}"})
        self.told.add(number)

    def _approve_all(self) -> None:
        while not self._over.wait(0.05):
            for asked in self._insist("GET", "/approvals")["items"]:
                run = asked["run"]["id"]
                if run not in self.approved:
                    self._insist("POST", f"/runs/{run}/decisions", {"key": asked["key"], "approve": True})
                    self.approved.add(run)

    def _insist(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._try(method, path, body, headers or {})
            if answer is not None and answer.status_code == 409:
                return None  # it was taken the first time, though nobody said so
            if answer is not None and answer.status_code not in _LATER:
                assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
                return answer.json()
            said = answer.text if answer is not None else "nothing"
            assert time.monotonic() < deadline, f"{method} {path} is not answered; the last answer: {said}"
            self._over.wait(0.05)

    def _try(self, method: str, path: str, body: object, headers: dict[str, str]) -> httpx.Response | None:
        server = self.server
        headers = {"Authorization": f"Bearer {server.token}", **headers}
        try:
            return httpx.request(method, f"{server.url}/api/v1{path}", json=body, headers=headers, timeout=20)
        except httpx.TransportError:
            return None
