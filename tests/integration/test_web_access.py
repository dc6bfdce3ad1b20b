"""Who gets in, and what every answer says: the app with services in memory, over its real middleware and routes."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import EMPTY_PAGES, OPEN_PAGES, PAGES
from fastapi import FastAPI
from fixture_services import NASTY, FixtureServices, services, step

from stepwell.tenants.actors import Actor
from stepwell_web.app import create_app
from stepwell_web.security import BODY_LIMIT

RUN = "/acme/payments-api/runs/1842"
TENANT = ("/acme/-/people", "/acme/-/usage", "/acme/-/audit", "/acme/-/dead", "/acme/-/runners", "/acme/-/secrets")
CODE = (
    "/acme/payments-api/environments", "/acme/payments-api/caches",
    "/acme/payments-api/files", "/acme/payments-api/files?path=src/refunds.py", "/acme/payments-api/commits",
    f"/acme/payments-api/commits/7c1e9d4{'0' * 33}", "/acme/payments-api/branches",
)  # fmt: skip
SAME = {"Sec-Fetch-Site": "same-origin"}
ADMIN = {"Cookie": "stepwell=admin-session"}
STRANGER = {"Cookie": "stepwell=stranger-session"}


@pytest.fixture
def given(tmp_path: Path) -> FixtureServices:
    return services(tmp_path)


@pytest.fixture
def app(given: FixtureServices) -> FastAPI:
    return create_app(given)  # type: ignore[arg-type]


@pytest.fixture
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


def flat(app: FastAPI) -> list[tuple[str, set[str]]]:
    """Path and methods of every route; an included router is one entry that holds its own in newer versions."""
    found: list[tuple[str, set[str]]] = []
    for route in app.routes:
        held = getattr(route, "effective_route_contexts", None)
        ones: list[Any] = list(held()) if held else [route]
        found += [(one.path, set(one.methods)) for one in ones if getattr(one, "methods", None)]
    return found


def addresses(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, address) of the app with its parameters filled in for what exists."""
    values = {
        "tenant": "acme",
        "name": "payments-api",
        "repo": "payments-api",
        "number": "1842",
        "key": "lint%231",
        "id": "run1842",
    }
    result = []
    for template, methods in flat(app):
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: values.get(m[1], "x"), template)
        result += [(method, path) for method in sorted(methods) if method not in ("HEAD", "OPTIONS")]
    return result


OPEN = {"/signin", "/signout", "/healthz", "/api/v1/openapi.json"}
OWN = {"/search", "/playground", "/", "/approvals", "/tokens"} | {
    f"/api/v1/{word}"
    for word in ("me", "whoami", "tenants", "tokens", "repos", "runs", "trends", "approvals", "stream")
}
"""What everybody has of their own; for a stranger it is empty."""


def test_the_walk_sees_the_routes(app: FastAPI) -> None:
    found = addresses(app)
    assert ("GET", "/acme/payments-api/runs/1842") in found
    assert ("POST", "/api/v1/runs/run1842/decisions") in found
    assert len(found) > 55


async def test_a_stranger_finds_nothing_on_any_route(app: FastAPI, web: httpx.AsyncClient) -> None:
    form = {"name": "A_B", "value": "v", "key": "a#1", "decision": "approve", "pipeline": "Ship", "tenant": "acme",
            "default_branch": "main", "id": "t1", "code": "x = 1"}  # fmt: skip
    body = {
        "pipeline": "Ship",
        "key": "a#1",
        "approve": True,
        "type": "x",
        "value": "v",
        "username": "u",
        "password": "p",
        "tenant": "acme",
        "name": "new",
        "runs": 1,
        "refs": [],
        "code": "same",  # for a restart; for a plan it is a program
    }
    for method, path in addresses(app):
        if path in OPEN or ".git" in path or path.endswith("/info/refs") or (path in OWN and method == "GET"):
            continue
        if path in ("/tokens", "/api/v1/tokens"):  # of one's own
            continue
        sent: dict[str, Any] = {"json": body} if path.startswith("/api/") else {"data": form}
        query = {"step": "lint", "q": "x", "path": "x", "key": "load test#1"} if method == "GET" else None
        answer = await web.request(
            method, path, params=query, headers=STRANGER | SAME, **({} if method == "GET" else sent)
        )
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        assert "Round refunds" not in answer.text


def test_every_page_is_among_those_that_a_browser_looks_at(app: FastAPI) -> None:
    parts = {"log", "find", "errors", "raw", "stream", "refs"}  # of pages, files, and git's
    served = [path for path, methods in flat(app) if "GET" in methods and not path.startswith(("/api/", "/healthz"))]
    pages = [path for path in served if path.rpartition("/")[2] not in parts and ".git" not in path]
    shapes = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in pages}
    looked_at = {path.partition("?")[0] for path in (*PAGES.values(), *EMPTY_PAGES.values(), *OPEN_PAGES.values())}
    seen = {next((path for path in pages if shapes[path].fullmatch(one)), "") for one in looked_at}
    assert len(pages) > 30
    assert set(pages) - seen == set()


async def test_a_stranger_sees_nothing_in_lists(web: httpx.AsyncClient) -> None:
    for path in OWN - {"/api/v1/stream", "/tokens", "/api/v1/me", "/api/v1/whoami"}:
        answer = await web.get(path, headers=STRANGER)
        assert answer.status_code == 200
        assert "payments-api" not in answer.text, path


async def test_nobody_is_led_to_the_signin_and_back(app: FastAPI, web: httpx.AsyncClient) -> None:
    for method, path in addresses(app):
        if path in OPEN or ".git" in path or path.endswith("/info/refs"):
            continue
        answer = await web.request(method, path, headers=SAME)
        if path.startswith("/api/"):
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            assert answer.headers["content-type"] == "application/problem+json"
        elif method == "GET" and not path.endswith("/stream"):
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/signin"), path
        else:
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"


async def test_a_form_of_another_site_is_refused(web: httpx.AsyncClient, given: FixtureServices) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ):
        answer = await web.post(f"{RUN}/cancel", headers=ADMIN | headers)
        assert answer.status_code == 403, headers
    assert given.stopped == []


async def test_our_own_form_is_taken(web: httpx.AsyncClient, given: FixtureServices) -> None:
    for headers in (SAME, {"Origin": "http://testserver"}):
        assert (await web.post(f"{RUN}/cancel", headers=ADMIN | headers)).status_code == 303
    assert given.stopped == ["cancel run1842", "cancel run1842"]


async def test_forms_and_programs_have_the_same_power_over_a_run(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    token = {"Authorization": "Bearer sw_admin"}
    for what in ("pause", "resume", "terminate"):
        assert (await web.post(f"{RUN}/{what}", headers=ADMIN | SAME)).headers["location"] == RUN
        assert (await web.post(f"/api/v1/runs/run1842/{what}", headers=token)).status_code == 202
    form = {"step": "lint#1", "code": "newer"}
    assert (await web.post(f"{RUN}/restart", headers=ADMIN | SAME, data=form)).status_code == 303
    body = {"from_step": "lint#1"}
    assert (await web.post("/api/v1/runs/run1842/restart", headers=token, json=body)).status_code == 201
    assert given.stopped == [
        *(f"{what} run1842" for what in ("pause", "resume", "terminate") for _ in range(2)),
        "restart newer lint#1 run1842", "restart same lint#1 run1842",
    ]  # fmt: skip
    for path, headers in ((f"{RUN}/restart", ADMIN | SAME), ("/api/v1/runs/run1842/restart", token)):
        sent: dict[str, Any] = {"json": {"code": "newer"}} if path.startswith("/api/") else {"data": {"code": "newer"}}
        assert (await web.post(path, headers=headers, **sent)).status_code in (400, 422)


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


async def test_a_program_with_a_token_needs_no_origin(web: httpx.AsyncClient) -> None:
    answer = await web.post("/api/v1/runs/run1842/cancel", headers={"Authorization": "Bearer sw_admin"}, json={})
    assert answer.status_code == 202


async def test_a_link_signs_in_once_and_only_by_a_button(web: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert "signs this browser in" in (await web.get("/signin?code=code-1")).text
    answer = await web.post("/signin", data={"code": "code-1"}, headers=SAME)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/approvals"  # something needs this person
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    again = await web.post("/signin", data={"code": "code-1"}, headers=SAME)
    assert again.status_code == 403
    assert "stepwell signin" in again.text


async def test_the_cookie_is_secure_behind_https(tmp_path: Path) -> None:
    app = create_app(services(tmp_path, base="https://ci.example"))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://ci.example") as web:
        answer = await web.post("/signin", data={"code": "code-1"}, headers=SAME)
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_a_signin_never_leads_to_another_site(web: httpx.AsyncClient, elsewhere: str) -> None:
    answer = await web.post("/signin", data={"code": "code-1", "next": elsewhere}, headers=SAME)
    assert answer.headers["location"] == "/approvals"


async def test_signing_out_ends_the_session(web: httpx.AsyncClient, given: FixtureServices) -> None:
    answer = await web.post("/signout", headers=ADMIN | SAME)
    assert answer.status_code == 303
    assert given.tenants.actor("admin-session") is None


async def test_every_answer_bears_the_security_headers(web: httpx.AsyncClient) -> None:
    for path in ("/", "/signin", "/nope", "/healthz", "/api/v1/me", "/static/x/base.css"):
        answer = await web.get(path, headers=ADMIN)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_no_page_holds_inline_code_or_style(web: httpx.AsyncClient) -> None:
    for path in (
        "/",
        "/approvals",
        "/acme",
        "/acme/payments-api",
        RUN,
        f"{RUN}/journal",
        f"{RUN}/source",
        f"{RUN}/timeline",
        f"{RUN}/changes",
        f"{RUN}/review?key=load%20test%231",
        *CODE,
        "/acme/payments-api/runs",
        "/acme/-/runs",
        "/tokens",
        "/acme/payments-api/settings",
    ):
        text = (await web.get(path, headers=ADMIN)).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"\son\w+=", re.sub(r"&lt;.*?&gt;", "", text)), path
        assert "<style" not in text and " style=" not in text, path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/acme/payments-api",
        "/acme/payments-api/runs/1841",
        f"{RUN}/journal",
        f"{RUN}?step=version",
        f"{RUN}?step=lint",
        "/acme/broken/pipelines",
        "/acme/payments-api/runs",
        "/acme/-/runs",
        f"{RUN}/source",
        f"{RUN}/changes",
        "/acme/payments-api/runs/1841/source",
        *CODE[1:],
        "/acme/-/people",
        "/acme/-/audit",
        "/acme/-/dead",
        "/acme/-/runners",
        "/search?q=round",
    ],
)
async def test_what_others_wrote_is_shown_never_executed(web: httpx.AsyncClient, path: str) -> None:
    text = (await web.get(path, headers=ADMIN)).text
    assert NASTY not in text
    assert "alert(1)&lt;/script&gt;" in text


async def test_an_oversize_body_is_refused(web: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer sw_admin"}
    answer = await web.post("/api/v1/repos", headers=headers, content=b"x" * (BODY_LIMIT + 1))
    assert answer.status_code == 413


async def test_failures_are_problems_for_programs_and_pages_for_people(web: httpx.AsyncClient) -> None:
    problem = await web.get("/api/v1/runs/nope", headers={"Authorization": "Bearer sw_admin"})
    assert problem.status_code == 404
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json() | {"detail": ""} == {
        "type": "urn:stepwell:notfound",
        "title": "Not Found",
        "status": 404,
        "detail": "",
    }
    page = await web.get("/acme/nope", headers=ADMIN)
    assert page.status_code == 404
    assert "or you may not see it" in page.text and "Go home" in page.text


async def test_a_mistake_of_ours_is_logged_and_not_shown(
    web: httpx.AsyncClient, given: FixtureServices, caplog: pytest.LogCaptureFixture
) -> None:
    given.runs = None  # type: ignore[assignment]
    answer = await web.get("/api/v1/runs/run1842", headers={"Authorization": "Bearer sw_admin"})
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    assert answer.json()["instance"].rsplit(":", 1)[1] in caplog.text


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


async def test_a_file_of_others_is_text_or_kept_and_never_run(web: httpx.AsyncClient) -> None:
    for path, kind, place in (("src/refunds.py", "text/plain", "inline"), ("logo.png", "application/octet", "attach")):
        answer = await web.get("/acme/payments-api/raw", params={"path": path}, headers=ADMIN)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"].startswith(place)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await web.get("/acme/payments-api/raw", params={"path": "src"}, headers=ADMIN)).status_code == 404


async def test_who_is_new_gets_a_link_once_and_who_is_known_gets_none(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    form = {"name": "new.person", "role": "viewer"}
    answer = await web.post("/acme/-/people", headers=ADMIN | SAME, data=form)
    assert "/signin?code=code-of-new.person" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    answer = await web.post("/acme/-/people", headers=ADMIN | SAME, data=form | {"name": "mara.okoye"})
    assert answer.headers["location"] == "/acme/-/people"
    assert (await web.post("/acme/-/people", headers=ADMIN | SAME, data=form | {"role": "king"})).status_code == 422
    assert given.stopped == ["member new.person viewer", "member mara.okoye viewer"]


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


async def test_static_files_are_kept_for_ever_under_their_build_only(web: httpx.AsyncClient) -> None:
    page = (await web.get("/signin")).text
    found = re.search(r'href="(/static/[^"]+base\.css)"', page)
    assert found
    assert "immutable" in (await web.get(found[1])).headers["cache-control"]
    assert "immutable" not in (await web.get("/static/other/base.css")).headers["cache-control"]
    assert (await web.get("/static/x/../app.py")).status_code == 404


async def test_the_api_describes_itself(web: httpx.AsyncClient) -> None:
    paths = (await web.get("/api/v1/openapi.json")).json()["paths"]
    assert "/api/v1/runs/{id}/decisions" in paths
    assert all(call.get("description") for path in paths.values() for call in path.values())
    assert not any(path.startswith("/{tenant}") for path in paths)


async def test_a_page_is_packed_for_those_who_take_it_so(web: httpx.AsyncClient) -> None:
    plain = await web.get(RUN, headers=ADMIN | {"Accept-Encoding": "gzip;q=0, br"})
    assert "content-encoding" not in plain.headers
    packed = await web.get(RUN, headers=ADMIN | {"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text
    assert int(packed.headers["content-length"]) < len(plain.content) / 4
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


async def test_two_hundred_steps_come_in_less_than_sixty_kilobytes(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    view = given.views["run1842"]
    steps = [step(f"{chr(97 + n % 26)}{n}z", "passed", n, 3, *([f"{chr(96 + n % 26)}{n - 1}z"] if n else []))
             for n in range(200)]  # fmt: skip
    given.views["run1842"] = replace(view, steps=tuple(steps))
    answer = await web.get(RUN, headers=ADMIN | {"Accept-Encoding": "gzip"})
    assert answer.text.count('class="step" href') == 200
    assert int(answer.headers["content-length"]) < 60_000


async def test_a_page_shows_only_what_its_own_actions_need(web: httpx.AsyncClient) -> None:
    text = (await web.get(RUN, headers=ADMIN)).text
    assert len(text.encode()) < 60_000
    assert 'name="decision" value="approve"' in text


@pytest.mark.parametrize("path", ["/api/v1/repos/acme/x.git/runs", "/acme/x.git/runs", "/x.git/signin", "/signin"])
async def test_no_address_that_looks_like_git_takes_an_endless_body(web: httpx.AsyncClient, path: str) -> None:
    answer = await web.post(path, headers={"Content-Type": "application/json"}, content=b"x" * (BODY_LIMIT + 1))
    assert answer.status_code == 413


async def test_a_mistake_of_ours_is_answered_under_the_same_rules(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    given.runs = None  # type: ignore[assignment]
    answer = await web.get("/api/v1/runs/run1842", headers={"Authorization": "Bearer sw_admin"})
    assert answer.status_code == 500
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


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


async def test_a_cache_is_deleted_by_its_whole_key_and_by_maintainers_only(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    where, form = "/acme/payments-api/caches/delete", {"key": NASTY, "branch": "round-refunds", "sure": "yes"}
    viewer = {"Cookie": "stepwell=viewer-session"}
    given.tenants.open_sessions["viewer-session"] = Actor("p3", "vi", {"acme": "viewer"}, via="session")
    answer = await web.post(where, data=form, headers=ADMIN | SAME)
    assert answer.headers["location"] == "/acme/payments-api/caches"
    await web.post(where, data={"all": "yes", "sure": "yes"}, headers=ADMIN | SAME)
    assert given.stopped[-2:] == [f"cache {NASTY} of round-refunds", "caches"]
    assert (await web.post(where, data=form, headers=viewer | SAME)).status_code == 403
    seen = (await web.get("/acme/payments-api/caches", headers=viewer)).text
    assert "npm-7c1e9d4" in seen and "Delete" not in seen and NASTY not in seen
