"""Every page is well-formed HTML, and the page of a large run is small on the way."""

import gzip
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from addresses import EMPTY_PAGES, OPEN_PAGES, PAGES, RUN
from fixture_runs import step
from fixture_services import services
from justhtml import JustHTML

from stepwell_web.app import create_app

ADMIN = {"Cookie": "stepwell=admin-session"}
ASSET = re.compile(r'(?:src|href)="(/static/[^"]+\.(?:css|js))"|from \'\./(\w+\.js)\'|import \'\./(\w+\.js)\'')


def client(state: Path, empty: bool = False) -> httpx.AsyncClient:
    app = create_app(services(state, empty))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


@pytest.mark.parametrize(
    ("pages", "empty", "headers"), [(PAGES, False, ADMIN), (EMPTY_PAGES, True, ADMIN), (OPEN_PAGES, False, {})]
)
async def test_pages_are_read_without_an_error_and_name_each_place_once(
    tmp_path: Path, pages: dict[str, str], empty: bool, headers: dict[str, str]
) -> None:
    wrong: list[str] = []
    told = 0  # pages with a text that would be read backwards
    async with client(tmp_path, empty) as web:
        for name, path in pages.items():
            text = (await web.get(path, headers=headers)).text
            found = JustHTML(text, collect_errors=True).errors
            wrong += [f"{name}: {error.code} in line {error.line}" for error in found]
            ids = Counter(re.findall(r'\sid="([^"]+)"', text))
            wrong += [f"{name}: id {id!r} stands {n} times" for id, n in ids.items() if n > 1]
            wrong += [f"{name}: {line} has U+202E in it" for line in text.splitlines() if "\u202e" in line]
            told += "[U+202E]moc" in text
    assert wrong == [] and (told > 20) is (pages is PAGES)


async def test_the_files_of_a_step_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    async with client(tmp_path) as web:
        text = (await web.get(PAGES["files of a step"], headers=ADMIN)).text
    assert "5,003 changed" in text and "5,000 more are not listed" in text


async def test_a_step_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    given = services(tmp_path)
    given.views["run1842"] = replace(given.views["run1842"], log_size=10)
    app = create_app(given)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as web:
        text = (await web.get(f"{RUN}?step=<b>unknown", headers=ADMIN)).text
        assert "No step “&lt;b&gt;unknown”</h2><p>The code of this run has not asked for" in text
        assert 'id="log-panel"' not in text and 'class="step"' in text
        assert "No step" not in (await web.get(f"{RUN}?step=run", headers=ADMIN)).text
        assert 'data-slug="unit-3.13"' in (await web.get(f"{RUN}?step=", headers=ADMIN)).text


async def test_a_run_without_a_number_is_not_found(tmp_path: Path) -> None:
    async with client(tmp_path) as web:
        page = await web.get("/acme/payments-api/runs/abc", headers=ADMIN)
    assert page.status_code == 404
    assert "Not found" in page.text and "its number cannot be &#39;abc&#39;" in page.text


async def test_the_page_of_200_steps_is_at_most_60_kb_on_the_way_with_all_that_it_loads(tmp_path: Path) -> None:
    given = services(tmp_path)
    view = given.views["run1842"]
    many = [step("install", "passed", 0, 5)]
    kinds = ("unit", "lint", "build")
    many += [step(f"{kind} {n}", "passed", 5, 60 + n, "install") for n in range(50) for kind in kinds]
    many += [step(f"deploy {n}", "queued", 300, None, "unit 1") for n in range(49)]
    given.views["run1842"] = replace(view, steps=tuple(many))
    app = create_app(given)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    packed = {"Accept-Encoding": "gzip"}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as web:
        page = await web.get(f"{RUN}?step=deploy-1", headers=ADMIN | packed)
        assert page.text.count('class="step"') >= 200
        wanted = [found[0] for found in ASSET.findall(page.text) if found[0]]
        sizes: dict[str, int] = {}
        while wanted:
            path = wanted.pop()
            if path in sizes:
                continue
            answer = await web.get(path, headers=packed)
            assert answer.headers["content-encoding"] == "gzip"
            assert "immutable" in answer.headers["cache-control"]
            sizes[path] = len(gzip.compress(answer.content, 9))
            wanted += [f"{path.rpartition('/')[0]}/{a or b}" for _, a, b in ASSET.findall(answer.text) if a or b]
    whole = len(gzip.compress(page.content, 4)) + sum(sizes.values())
    assert len(sizes) >= 3 and whole <= 60_000, sizes
