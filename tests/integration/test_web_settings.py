"""Rules of environments in words: the same on every page that tells them."""

from pathlib import Path

import httpx
import pytest
from fixture_services import services

from stepwell.ci.views import EnvironmentView
from stepwell_web.app import create_app

ADMIN = {"Cookie": "stepwell=admin-session"}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (EnvironmentView("stage", count=0), "Nobody is asked<"),
        (EnvironmentView("stage", count=0, branches=("main", "tags/v*")), "Nobody is asked · only main, tags/v*<"),
        (EnvironmentView("stage", count=1), "1 approval by anybody who may approve<"),
        (EnvironmentView("stage", ("ida", "jun"), 2, (), True, 1800.0), "2 of ida, jun · not by its author · waits 30"),
    ],
)
async def test_rules_are_told_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: EnvironmentView, words: str
) -> None:
    given = services(tmp_path)
    monkeypatch.setattr(given.environments, "list", lambda *_: [rules])
    app = create_app(given)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=ADMIN) as web:
        for page in ("settings", "environments"):
            text = (await web.get(f"/acme/payments-api/{page}")).text
            assert words in text.replace(" · <a", "<")
            assert "0 approvals" not in text
