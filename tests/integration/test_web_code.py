"""The pages of a repository's files: what costs much is made once."""

from pathlib import Path

import httpx
import pytest
from fixture_services import services

from stepwell_web import readme
from stepwell_web.app import create_app

FILES = "/acme/payments-api/files"


async def test_the_page_of_a_markdown_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    render = readme.render

    def counted(text: str, place: readme.Place) -> object:
        rendered.append(text)
        return render(text, place)

    monkeypatch.setattr(readme, "render", counted)
    app = create_app(services(tmp_path))  # type: ignore[arg-type]
    given = {"Cookie": "stepwell=admin-session"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://testserver", headers=given
    ) as web:
        for query in ("path=notes.md", "path=notes.md", "path=notes.md&plain=1", "path=src/refunds.py"):
            answer = await web.get(f"{FILES}?{query}")
            assert answer.status_code == 200
            assert ('id="readme-notes"' in answer.text) == (query == "path=notes.md")
    assert len(rendered) == 1
