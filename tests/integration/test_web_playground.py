"""A plan of several files in the playground: all of them open, all of them are checked and sent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixture_runs import NASTY
from fixture_services import FixtureServices, services
from markupsafe import escape
from visitors import client

from stepwell.ci.plans import Checked, Plan
from stepwell.engine.specs import RunRef

FORM = {"tenant": "acme", "code": "import helper\r\n", "file:helper.py": "a = 1\r\nb = 2\r\n", "file:lib/x.py": ""}
FILES = {"pipeline.py": "import helper\n", "helper.py": "a = 1\nb = 2\n", "lib/x.py": ""}


@pytest.fixture
def given(tmp_path: Path) -> FixtureServices:
    made = services(tmp_path)
    view = made.views["run1842"]
    made.views["run1842"] = replace(view, summary=replace(view.summary, plan="digest"))
    return made


async def test_every_file_of_a_run_is_opened(given: FixtureServices) -> None:
    async with client(given) as web:
        page = (await web.get("/playground?run=run1842")).text
    for name in ("code", "file:helper.py", "file:lib/dates.py"):
        assert page.count(f'name="{name}"') == 1
    sent = str(escape(NASTY)).replace("\u202e", "&#8238;")
    assert f"DAY = 1\n# {sent}" in page and NASTY not in page


async def test_every_file_is_checked_and_sent(given: FixtureServices, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def start(_actor: object, _tenant: str, plan: Plan) -> tuple[RunRef, Checked]:
        seen.append(plan.files)
        return RunRef("run1842", 1842, True), Checked()

    monkeypatch.setattr(given.plans, "start", start)
    async with client(given) as web:
        assert (await web.post("/playground", data={**FORM, "do": "run"})).status_code == 303
    assert seen == [FILES]


async def test_what_is_wrong_in_another_file_is_shown_there(given: FixtureServices) -> None:
    async with client(given) as web:
        wrong = {**FORM, "file:helper.py": "wrong"}
        answer = await web.post("/playground", data={**wrong, "do": "run"})
        part = await web.post("/playground/check", data=wrong)
    assert answer.status_code == 422 and 'name="file:lib/x.py"' in answer.text
    for text in (answer.text, part.text):
        assert 'data-line="2" data-file="helper.py">helper.py, line 2</button>' in text
