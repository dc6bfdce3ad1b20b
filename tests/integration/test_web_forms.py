"""What a form answers when something in it does not do: the page it came from, the words, and all that was typed."""

from pathlib import Path

import httpx
import pytest
from addresses import RUN
from fixture_services import FixtureServices, services

from stepwell.errors import Bug, Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable
from stepwell_web.app import create_app

ADMIN = {"Cookie": "stepwell=admin-session", "Origin": "http://testserver"}
DRAFT = {"tenant": "acme", "code": "mine = 1", "event": "[7]", "repository": "acme/api", "ref": "a-ref", "do": "run"}


@pytest.fixture
def given(tmp_path: Path) -> FixtureServices:
    return services(tmp_path)


def client(given: FixtureServices) -> httpx.AsyncClient:
    app = create_app(given)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=ADMIN)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("It has a fault."), 422), (NotFound("It has a fault."), 404), (Denied("It has a fault."), 403),
        (Conflict("It has a fault."), 409), (TryLater("It has a fault.", 7.4), 429),
        (Unavailable("It has a fault."), 503),
    ],
)  # fmt: skip
async def test_the_playground_keeps_the_program_whatever_is_wrong(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch, error: StepwellError, status: int
) -> None:
    def start(*_: object) -> None:
        raise error

    monkeypatch.setattr(given.plans, "start", start)
    async with client(given) as web:
        answer = await web.post("/playground", data=DRAFT)
    kept = ("It has a fault.", "mine = 1</textarea>", "[7]</textarea>", 'value="acme/api"', 'value="a-ref"')
    assert (answer.status_code, [words for words in kept if words not in answer.text]) == (status, [])
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)


async def test_a_mistake_of_the_server_is_said_to_be_one(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> None:
        raise Bug("It cannot be.")

    monkeypatch.setattr(given.plans, "start", start)
    async with client(given) as web:
        answer = await web.post("/playground", data=DRAFT)
    assert (answer.status_code, "Please report it." in answer.text) == (500, True)


async def test_a_program_is_kept_for_somebody_who_may_send_none(given: FixtureServices) -> None:
    async with client(given) as web:
        answer = await web.post("/playground", data=DRAFT, headers={"Cookie": "stepwell=stranger-session"})
    assert (answer.status_code, "mine = 1</textarea>" in answer.text) == (404, True)


async def test_killing_what_is_in_no_process_is_answered_calmly_on_the_runs_page(given: FixtureServices) -> None:
    async with client(given) as web:
        answer = await web.post(f"{RUN}/kill")
    assert answer.status_code == 409
    assert "there is nothing to kill" in answer.text
    assert f'data-address="{RUN}"' in answer.text
    assert "Somebody was first" not in answer.text
