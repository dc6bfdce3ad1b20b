"""Rules of environments in words: the same on every page that tells them."""

from pathlib import Path

import httpx
import pytest
from fixture_services import services

from stepwell.ci.views import EnvironmentView, RepositoryView
from stepwell.tenants import Actor
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


async def test_a_repositorys_days_of_artifacts_are_set_by_its_form_and_over_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = services(tmp_path)
    days: list[object] = []
    update = given.catalog.update

    def noted(actor: Actor, tenant: str, name: str, **changed: object) -> RepositoryView:
        days.append(changed["keep_artifacts_days"])
        update(actor, tenant, name)
        return given.catalog.get(actor, tenant, name)

    monkeypatch.setattr(given.catalog, "update", noted)
    app = create_app(given)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    here = "/acme/payments-api/settings"
    headers = {**ADMIN, "Origin": "http://testserver"}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as web:
        text = (await web.get(here)).text
        assert 'name="keep_artifacts_days" type="number" min="1" max="90"' in text and "keeps them: 90 days" in text
        for written, kept in (("30", 30), (" ", 0), ("", 0)):
            answer = await web.post(here, data={"default_branch": "main", "keep_artifacts_days": written})
            assert (answer.status_code, days.pop()) == (303, kept)
        answer = await web.post(here, data={"default_branch": "main"})  # a page from before there was the field
        assert (answer.status_code, days.pop()) == (303, None)
        for wrong in ("-1", "1.5", "two", "\u0663", "9" * 30):
            answer = await web.post(here, data={"default_branch": "main", "keep_artifacts_days": wrong})
            assert answer.status_code == 422 and "Write a whole number, or nothing" in answer.text
        assert not days
        address = "/api/v1/repos/acme/payments-api"
        changed = await web.patch(address, json={"keep_artifacts_days": 5})
        assert (changed.status_code, changed.json()["full_name"], days) == (200, "acme/payments-api", [5])
        for body in ({"keep_artifacts_days": -1}, {"keep_artifacts_days": "x"}):
            assert (await web.patch(address, json=body)).status_code == 422
