"""What every answer says, whatever was asked: headers, problems, sizes; over the app's real middleware and routes."""

import re
from dataclasses import replace

import httpx
import pytest
from addresses import RUN
from fixture_runs import NASTY, step
from fixture_services import FixtureServices
from visitors import ADMIN

from stepwell_web.security import BODY_LIMIT
from stepwell_web.templating import STATIC

CODE = (
    "/acme/payments-api/environments", "/acme/payments-api/caches",
    "/acme/payments-api/files", "/acme/payments-api/files?path=src/refunds.py", "/acme/payments-api/commits",
    f"/acme/payments-api/commits/7c1e9d4{'0' * 33}", "/acme/payments-api/branches",
)  # fmt: skip


async def test_every_answer_bears_the_security_headers(web: httpx.AsyncClient) -> None:
    for path in ("/", "/signin", "/nope", "/healthz", "/api/v1/me", "/static/x/pages.css"):
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
    assert '<span aria-current="page">Not found</span>' in page.text and "<h1>Not found</h1>" in page.text


async def test_the_address_to_clone_is_there_to_be_copied(web: httpx.AsyncClient) -> None:
    page = (await web.get("/acme/payments-api", headers=ADMIN)).text
    head = page.partition('<div class="head">')[2].partition("</div>")[0]
    assert re.search(r'<button type="button"[^>]* data-copy="https?://[^"]+/acme/payments-api\.git"', head)


async def test_a_mistake_of_ours_is_logged_and_not_shown(
    web: httpx.AsyncClient, given: FixtureServices, caplog: pytest.LogCaptureFixture
) -> None:
    given.runs = None  # type: ignore[assignment]
    answer = await web.get("/api/v1/runs/run1842", headers={"Authorization": "Bearer sw_admin"})
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    assert answer.json()["instance"].rsplit(":", 1)[1] in caplog.text


async def test_static_files_are_kept_for_ever_under_their_build_only(web: httpx.AsyncClient) -> None:
    page = (await web.get("/signin")).text
    found = re.search(r'href="(/static/[^"]+pages\.css)"', page)
    assert found
    assert "immutable" in (await web.get(found[1])).headers["cache-control"]
    assert "immutable" not in (await web.get("/static/other/pages.css")).headers["cache-control"]
    assert (await web.get("/static/x/../app.py")).status_code == 404


async def test_comments_of_scripts_are_not_sent_and_lines_keep_their_numbers(web: httpx.AsyncClient) -> None:
    sent = (await web.get("/static/x/live.js")).text.splitlines()
    written = (STATIC / "live.js").read_text().splitlines()
    assert written[0].startswith("// ")
    assert sent == ["" if line.lstrip().startswith("//") else line for line in written]


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
