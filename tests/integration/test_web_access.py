"""Who gets in, and to what: the app with services in memory, over its real middleware and routes."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import EMPTY_PAGES, OPEN_PAGES, PAGES, RUN
from fastapi import FastAPI
from fixture_runs import NASTY
from fixture_services import FixtureServices, services
from visitors import ADMIN, SAME, STRANGER

from stepwell.tenants.actors import Actor
from stepwell_web.app import create_app


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
    for word in ("me", "whoami", "tenants", "tokens", "repos", "runs", "logs", "trends", "approvals", "stream")
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
        if path in ("/tokens", "/tokens/password", "/api/v1/tokens"):  # of one's own
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
        answer = await web.get(path, params={"q": "assert"}, headers=STRANGER)
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
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)"],
)
async def test_a_signin_never_leads_to_another_site(web: httpx.AsyncClient, elsewhere: str) -> None:
    answer = await web.post("/signin", data={"code": "code-1", "next": elsewhere}, headers=SAME)
    assert answer.headers["location"] == "/approvals"


async def test_signing_out_ends_the_session(web: httpx.AsyncClient, given: FixtureServices) -> None:
    answer = await web.post("/signout", headers=ADMIN | SAME)
    assert answer.status_code == 303
    assert given.tenants.actor("admin-session") is None


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


async def test_an_account_of_elsewhere_is_asked_about_before_it_has_a_role(
    web: httpx.AsyncClient, given: FixtureServices
) -> None:
    form = {"name": "known.elsewhere", "role": "owner"}
    asked = await web.post("/acme/-/people", headers=ADMIN | SAME, data=form)
    assert asked.status_code == 200 and given.stopped == []
    assert "<b>known.elsewhere has an account on this server already.</b>" in asked.text
    assert "/signin?code=" not in asked.text and "is new here" not in asked.text
    assert '<input type="hidden" name="sure" value="yes">' in asked.text and "Add them as owner</button>" in asked.text
    done = await web.post("/acme/-/people", headers=ADMIN | SAME, data=form | {"sure": "yes"})
    assert (done.status_code, done.headers["location"]) == (303, "/acme/-/people")
    assert given.stopped == ["member known.elsewhere owner"]


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
