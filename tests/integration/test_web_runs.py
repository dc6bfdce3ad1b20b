"""Runs on their pages and over the API: decisions, logs, results, what is dead; over services in memory."""

import re
from dataclasses import replace

import httpx
import pytest
from addresses import RUN
from fixture_runs import NASTY, step
from fixture_services import FixtureServices
from visitors import ADMIN, SAME

from stepwell.ci.changes import NO_PATHS, ChangesSince
from stepwell.ci.views import RunView
from stepwell.tenants import Actor


async def test_a_program_changes_many_runs_a_part_at_a_time(web: httpx.AsyncClient, given: FixtureServices) -> None:
    token, address = {"Authorization": "Bearer sw_admin"}, "/api/v1/tenants/acme/bulk/pause"
    answer = await web.post(address, headers=token, json={"pipeline": "Ship", "cursor": "here"})
    report = answer.json()
    assert [one["number"] for one in report["changed"]] == [1842] and report["next"] == "more"
    assert (report["refused"][0]["number"], report["refused"][0]["why"]) == (1841, NASTY)
    assert given.stopped == ["pause acme Ship here"]
    dead = (await web.get("/api/v1/tenants/acme/dead-runs", headers=token)).json()
    assert [(one["number"], one["death"]) for one in dead["items"]] == [(1841, "load"), (1836, "diverged")] and dead[
        "next"
    ] is None


async def test_a_decision_reaches_the_service_with_comment_and_fields(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    form = {"key": "load test#1", "decision": "approve", "comment": " fine ", "field.users": "500"}
    answer = await web.post(f"{RUN}/decisions", data=form, headers=ADMIN | SAME)
    assert answer.headers["location"] == RUN
    assert given.decided == [("run1842", "load test#1", True, "fine", {"users": "500"})]


async def test_a_review_says_what_goes_out_and_only_of_what_is_asked(web: httpx.AsyncClient) -> None:
    page = (await web.get(f"{RUN}/review", params={"key": "load test#1", "next": "//evil.example"}, headers=ADMIN)).text
    assert "3 commits, 4 files go to preview-1842." in page
    assert 'name="next" value="/"' in page
    assert (await web.get(f"{RUN}/review", params={"key": "lint#1"}, headers=ADMIN)).status_code == 404


async def test_a_review_of_commits_that_change_no_file_says_so(
    web: httpx.AsyncClient, given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = given.changes.of

    def without_files(actor: Actor, view: RunView) -> ChangesSince | None:
        found = of(actor, view)
        return found and replace(found, commits=replace(found.commits, paths=NO_PATHS))

    monkeypatch.setattr(given.changes, "of", without_files)
    page = (await web.get(f"{RUN}/review", params={"key": "load test#1"}, headers=ADMIN)).text
    assert "3 commits, no files go to preview-1842." in page and "0 file" not in page


async def test_a_file_of_others_is_text_or_kept_and_never_run(web: httpx.AsyncClient) -> None:
    for path, kind, place in (("src/refunds.py", "text/plain", "inline"), ("logo.png", "application/octet", "attach")):
        answer = await web.get("/acme/payments-api/raw", params={"path": path}, headers=ADMIN)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"].startswith(place)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await web.get("/acme/payments-api/raw", params={"path": "src"}, headers=ADMIN)).status_code == 404


async def test_dead_runs_that_are_chosen_are_ended_and_the_others_named(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    form = {"action": "terminate", "run": ["run1841", "run0"]}
    page = (await web.post("/acme/-/dead", headers=ADMIN | SAME, data=form)).text
    assert given.stopped == ["terminate run1841"]
    assert 'Ended: <a href="/acme/payments-api/runs/1841">#1841</a>' in page
    assert "There is no such run, or you may not see it." in page
    answer = await web.post("/acme/-/dead", headers=ADMIN | SAME, data={"action": "terminate"})
    assert answer.status_code == 422 and "Mark those that are meant" in answer.text


async def test_dead_runs_that_diverged_go_on_with_their_old_code(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    assert "Go on with the old code" in (await web.get("/acme/-/dead", headers=ADMIN)).text
    form = {"action": "old", "run": ["run1836", "run1841"]}
    page = (await web.post("/acme/-/dead", headers=ADMIN | SAME, data=form)).text
    assert given.stopped == ["restart same bye#1 run1840"]
    assert 'Going on with the old code as: <a href="/acme/payments-api/runs/1840">#1840</a>' in page
    assert "Run #1841 has no older code to go on with" in page


async def test_the_icon_of_a_runs_page_tells_its_state(web: httpx.AsyncClient) -> None:
    for path, icon in ((RUN, "failed"), ("/acme/payments-api/runs/1840", "passed"), ("/", "")):
        name = f"favicon-{icon}" if icon else "favicon"
        page = (await web.get(path, headers=ADMIN)).text
        found = re.search(rf'<link rel="icon" href="(/static/[^/]+/{name}\.svg)"', page)
        assert found and (await web.get(found[1])).headers["content-type"] == "image/svg+xml"


async def test_a_log_is_read_by_bytes_and_by_lines(web: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer sw_admin"}
    raw = await web.get(
        "/api/v1/runs/run1842/steps/unit%203.13%231/log", params={"offset": 1, "limit": 9}, headers=headers
    )
    assert raw.text == "container"
    assert raw.headers["x-log-finished"] == "true"
    lines = await web.get(
        "/api/v1/runs/run1842/steps/unit%203.13%231/log", params={"format": "json", "count": 2}, headers=headers
    )
    assert [one["number"] for one in lines.json()["items"]] == [1, 2]
    assert raw.headers["content-type"].startswith("text/plain")


async def test_a_page_of_a_log_comes_alone(web: httpx.AsyncClient) -> None:
    answer = await web.get("/acme/payments-api/runs/1840/log", params={"step": "hello", "from": 501}, headers=ADMIN)
    assert answer.text.startswith('<ol><li id="hello:501"')
    assert answer.text.count("<li") == 500


async def test_search_answers_with_line_numbers(web: httpx.AsyncClient) -> None:
    answer = await web.get(
        "/acme/payments-api/runs/1840/find", params={"step": "hello", "q": "LINE 1999 "}, headers=ADMIN
    )
    assert answer.json() == {"count": 1, "lines": [1999]}


async def test_a_log_comes_whole_to_look_at_or_to_keep_and_never_as_a_page(web: httpx.AsyncClient) -> None:
    for query, kind in (({}, "inline"), ({"download": 1}, "attachment")):
        answer = await web.get(f"{RUN}/raw", params={"step": "lint", **query}, headers=ADMIN)
        assert NASTY in answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == f'{kind}; filename="payments-api-1842-lint.log"'
    assert (await web.get(f"{RUN}/raw", params={"step": "no such"}, headers=ADMIN)).status_code == 404


@pytest.mark.parametrize("asked", [{"offset": -1}, {"limit": 10**12}, {"limit": -1}])
async def test_nobody_reads_a_log_into_memory_as_a_whole(web: httpx.AsyncClient, asked: dict[str, int]) -> None:
    headers = {"Authorization": "Bearer sw_admin"}
    assert (await web.get("/api/v1/runs/run1842/log", params=asked, headers=headers)).status_code == 422


async def test_a_downloaded_log_comes_whole_under_a_plain_name(web: httpx.AsyncClient) -> None:
    address, headers = "/api/v1/runs/run1842/steps/unit%203.13%231/log", {"Authorization": "Bearer sw_admin"}
    whole = await web.get(address, params={"download": "true"}, headers=headers)
    assert whole.text == (await web.get(address, headers=headers)).text
    assert whole.headers["content-disposition"] == 'attachment; filename="unit-3.13-1.log"'


async def test_the_result_of_a_step_is_read_as_json(web: httpx.AsyncClient, given: FixtureServices) -> None:
    view = given.views["run1842"]
    step = next(step for step in view.steps if step.state == "passed")
    given.views["run1842"] = replace(view, steps=(replace(step, value={"a": "<b>"}),))
    answer = await web.get(f"/api/v1/runs/run1842/steps/{step.key.replace('#', '%23')}/result", headers=ADMIN)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (
        200,
        {"a": "<b>"},
        "application/json",
    )
    assert (await web.get("/api/v1/runs/run1842/steps/none%231/result", headers=ADMIN)).status_code == 404


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("a <b>", "a &lt;b&gt;"),
        ({"n": [1]}, "{&#34;n&#34;: [1]}"),
        (["y" * 99], f"[\n  &#34;{'y' * 99}&#34;\n]"),
        (0, "0"),
        (None, ""),
    ],
)
async def test_the_page_of_a_passed_run_shows_what_its_code_returned(
    given: FixtureServices, web: httpx.AsyncClient, result: object, shown: str
) -> None:
    given.views["run1840"] = replace(given.views["run1840"], result=result)
    page = (await web.get("/acme/payments-api/runs/1840", headers=ADMIN)).text
    found = page.partition('id="result"')[2].partition("</section>")[0]
    assert found.partition('<dd class="mono">')[2].partition("</dd>")[0] == shown


async def test_of_a_long_result_the_beginning_is_shown_and_where_the_rest_is(
    given: FixtureServices, web: httpx.AsyncClient
) -> None:
    given.views["run1840"] = replace(given.views["run1840"], result="x" * 5000)
    page = (await web.get("/acme/payments-api/runs/1840", headers=ADMIN)).text
    assert "x" * 4000 + "…" in page and "x" * 4001 not in page
    assert "5,000 characters, is in /api/v1/runs/run1840" in page


async def test_a_run_page_names_its_round_its_parent_and_the_run_that_it_called(
    given: FixtureServices, web: httpx.AsyncClient
) -> None:
    view = given.views["run1842"]
    child = replace(view.steps[0], kind="call", child={"run": "c0ffee", "number": 1850})
    parent = {"run": "p", "number": 1841, "key": "c#1", "root": "p", "depth": 1, "waits": True}
    given.views["run1842"] = replace(view, round=3, parent=parent, steps=(child, *view.steps[1:]))
    page = (await web.get(f"{RUN}?step={child.name}", headers=ADMIN)).text
    assert "round 3" in page and 'called by <a href="/acme/payments-api/runs/1841">#1841</a>' in page
    assert '<a href="/acme/payments-api/runs/1850">#1850</a>' in page
    answer = (await web.get("/api/v1/runs/run1842", headers=ADMIN)).json()
    assert (answer["round"], answer["parent"], answer["steps"][0]["child"]) == (3, parent, child.child)


async def test_a_run_tells_of_its_first_thousand_steps_and_where_the_rest_are(
    given: FixtureServices, web: httpx.AsyncClient
) -> None:
    view, one = given.views["run1842"], step("part", "passed", 0, 1)
    steps = tuple(replace(one, key=f"part#{n}") for n in range(1, 2102))
    whole = (await web.get("/api/v1/runs/run1842", headers=ADMIN)).json()
    assert (len(whole["steps"]), whole["steps_next"]) == (len(view.steps), None)
    given.views["run1842"] = replace(view, steps=steps)
    for address in ("/runs/run1842", "/repos/acme/payments-api/runs/1842"):
        answer = (await web.get(f"/api/v1{address}", headers=ADMIN)).json()
        assert ([one["key"] for one in answer["steps"]], answer["steps_next"]) == ([s.key for s in steps[:1000]], 1000)
    keys, after = [one["key"] for one in answer["steps"]], answer["steps_next"]
    while after is not None:
        page = (await web.get("/api/v1/runs/run1842/steps", params={"after": after}, headers=ADMIN)).json()
        keys, after = [*keys, *(one["key"] for one in page["items"])], page["next"]
    assert keys == [one.key for one in steps]
    last = (await web.get("/api/v1/runs/run1842/steps?after=2101&limit=1", headers=ADMIN)).json()
    assert last == {"items": [], "next": None}
