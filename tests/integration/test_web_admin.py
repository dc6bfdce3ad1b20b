"""The page for who administers the server: a look that failed is shown with what to do, not as one to come."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixture_services import services

from stepwell.ci.beside import Failure
from stepwell_web.app import create_app

ADMIN = {"Cookie": "stepwell=admin-session"}
REASON = "OSError: [Errno 5] Input/output error: '<state>'"


async def shown(tmp_path: Path, patch: pytest.MonkeyPatch, **changed: Any) -> str:
    given = services(tmp_path)
    of = given.installation.of
    patch.setattr(given.installation, "of", lambda actor: replace(of(actor), **changed))
    transport = httpx.ASGITransport(create_app(given))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=ADMIN) as web:
        answer = await web.get("/admin")
    assert answer.status_code == 200
    return answer.text


async def test_looks_that_failed_are_shown_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = {name: Failure(1_790_000_000.0, REASON) for name in ("health", "tenants", "disk")}
    text = await shown(tmp_path, monkeypatch, health=None, tenants=None, disk=None, failures=failures)
    assert "first time" not in text and "Being looked at" not in text and "Every run is well" not in text
    assert text.count("OSError: [Errno 5] Input/output error: &#39;&lt;state&gt;&#39;") == 3
    assert text.count("stepwell doctor</span> says what the host lacks") == 3
    for name in ("health", "tenants", "disk"):
        assert f'href="/admin#{name}">Load the page again</a> after ten seconds' in text


async def test_what_was_seen_before_stays_beside_a_look_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await shown(tmp_path, monkeypatch, failures={"disk": Failure(1_790_000_000.0, REASON)})
    assert text.count("The last look failed") == 1 and "Bytes by kind" in text


async def test_a_first_look_under_way_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await shown(tmp_path, monkeypatch, health=None, tenants=None, disk=None)
    assert text.count("Being looked at for the first time") == 3 and "The last look failed" not in text
