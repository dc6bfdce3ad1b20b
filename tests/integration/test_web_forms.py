"""What a form answers when something in it does not do: the page it came from, the words, and all that was typed."""

import re
from dataclasses import replace

import pytest
from addresses import RUN
from fixture_runs import approval, step, summary
from fixture_services import FixtureServices
from visitors import STRANGER, client

from stepwell.errors import Bug, Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable

DRAFT = {"tenant": "acme", "code": "mine = 1", "event": "[7]", "repository": "acme/api", "ref": "a-ref", "do": "run"}


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
    async with client(given, raises=False) as web:
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
        answer = await web.post("/playground", data=DRAFT, headers=STRANGER)
    assert (answer.status_code, "mine = 1</textarea>" in answer.text) == (404, True)


async def test_killing_a_process_is_told_whatever_ran_there(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given.control, "kill_isolate", lambda *_: None)
    async with client(given) as web:
        answer = await web.post(f"{RUN}/kill")
        later = await web.get(RUN)
    told = '<section class="notice section" role="status">'
    assert (answer.status_code, told in later.text) == (200, False)
    assert told in answer.text and "Its process was killed. The run goes on in a new one" in answer.text
    assert f'data-address="{RUN}"' in answer.text


async def test_killing_what_is_in_no_process_is_answered_calmly_on_the_runs_page(given: FixtureServices) -> None:
    async with client(given) as web:
        answer = await web.post(f"{RUN}/kill")
    assert answer.status_code == 409
    assert "there is nothing to kill" in answer.text
    assert f'data-address="{RUN}"' in answer.text
    assert "Somebody was first" not in answer.text


def refuse(monkeypatch: pytest.MonkeyPatch, given: FixtureServices, name: str, error: StepwellError) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(given.runs, name, refused)


def at_its_field(html: str, name: str, words: str, typed: str) -> None:
    """Check that a field is marked, says the words and still has what was typed."""
    (field,) = re.findall(r'<(?:input|textarea)[^>]* aria-invalid="true"[^>]*>[^<]*', html)
    assert f'name="{name}"' in field
    assert f'value="{typed}"' in field or typed in field.partition(">")[2]
    assert html.count(words) == 1
    assert f'<span class="field-wrong" role="alert">{words}' in html


@pytest.mark.parametrize(
    ("error", "name", "typed"),
    [
        (Invalid("It has a fault.", field="note"), "input.note", "now &amp; then"),
        (NotFound("It has a fault."), "ref", "no-branch"),
    ],
)
async def test_a_start_by_hand_says_at_the_field_what_is_wrong(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch, error: StepwellError, name: str, typed: str
) -> None:
    refuse(monkeypatch, given, "start", error)
    form = {"pipeline": "Ship", "ref": "no-branch", "input.target": "production", "input.note": "now & then"}
    async with client(given) as web:
        answer = await web.post("/acme/payments-api/runs", data=form)
    at_its_field(answer.text, name, "It has a fault.", typed)
    assert answer.status_code == (422 if name == "input.note" else 404)
    assert "<option selected>production</option>" in answer.text
    assert 'data-address="/acme/payments-api/pipelines"' in answer.text


@pytest.mark.parametrize("pipeline", ["Ship", "Other"])
async def test_a_start_by_hand_says_what_is_wrong_with_all_of_it(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    refuse(monkeypatch, given, "start", Invalid("It has a fault."))
    async with client(given) as web:
        answer = await web.post("/acme/payments-api/runs", data={"pipeline": pipeline, "ref": "a-branch"})
    assert (answer.status_code, answer.text.count("It has a fault.")) == (422, 1)


async def test_a_start_in_no_repository_is_not_found(given: FixtureServices, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, given, "start", NotFound("There is none."))
    async with client(given) as web:
        answer = await web.post("/acme/nope/runs", data={"pipeline": "Ship"})
    assert (answer.status_code, "acme/nope" in answer.text) == (404, True)


async def test_a_payload_that_is_no_json_is_told_at_its_field(given: FixtureServices) -> None:
    view = given.views["run1842"]
    waits = step("an order", "waiting", 1, None, kind="event", options={"type": "order"})
    given.views["run1842"] = replace(view, steps=(*view.steps, waits))
    async with client(given) as web:
        answer = await web.post(f"{RUN}/events", data={"type": "order", "payload": "{tea: 2}"})
        nobody = await web.post(f"{RUN}/events", data={"type": "milk", "payload": "{tea: 2}"})
    at_its_field(answer.text, "payload", "The payload is no JSON", "{tea: 2}")
    assert (answer.status_code, nobody.status_code) == (422, 422)
    assert f'data-address="{RUN}?step=an-order"' in answer.text
    assert "The payload is no JSON" in nobody.text


async def test_a_reviewers_wrong_field_is_told_where_it_is_and_keeps_the_rest(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, given, "decide", Invalid("It has a fault.", field="minutes"))
    form = {"key": "load test#1", "decision": "approve", "comment": "go & see", "next": "/approvals",
            "field.minutes": "soon", "field.users": "500", "field.note": "mine", "field.warm": "false"}  # fmt: skip
    async with client(given) as web:
        answer = await web.post(f"{RUN}/decisions", data=form)
    at_its_field(answer.text, "field.minutes", "It has a fault.", "soon")
    kept = ('value="go &amp; see"', "<option selected>500</option>", 'value="mine"', 'name="next" value="/approvals"')
    assert (answer.status_code, [words for words in kept if words not in answer.text]) == (422, [])
    assert 'value="true" form="review-form">' in answer.text  # was switched off


async def test_a_failed_run_in_a_list_says_why_and_a_plans_approval_says_whose_it_is(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = approval(summary())
    plan = replace(asked.run, plan="digest", repository="-", title="Nothing is in memory.")
    monkeypatch.setattr(given.runs, "inbox", lambda _: [replace(asked, run=plan)])
    async with client(given) as web:
        runs = (await web.get("/acme/payments-api/runs")).text
        waiting = (await web.get("/approvals")).text
    assert "<span>deploy: ./deploy.sh ended with exit code 4.</span>" in runs
    assert f">acme, plans #{plan.number}</a> Nothing is in memory. " in waiting
    assert "acme/- #" not in waiting
