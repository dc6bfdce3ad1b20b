"""The stream of a run page, over a run that says nothing by itself."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stepwell_web.live import Hub, event
from stepwell_web.pages import run as page
from stepwell_web.streams import KEEP_ALIVE
from stepwell_web.visits import Visit


def visit_of(state: str) -> Visit:
    """Look at a run of this state whose page shows all there is."""
    summary = SimpleNamespace(seq=1, state=state, finished=False, tenant="acme")
    hub = Hub()
    hub.start()
    given: Any = {"web": SimpleNamespace(hub=hub), "actor": None}
    services = SimpleNamespace(runs=SimpleNamespace(summary=lambda *_: summary))
    return cast(Visit, SimpleNamespace(services=services, **given))


@pytest.mark.parametrize(("state", "told"), [("queued", event("run", "1", "1:0")), ("running", KEEP_ALIVE)])
async def test_the_page_of_a_queued_run_is_looked_at_again_since_what_it_waits_for_changes(
    state: str, told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "KEEP_ALIVE_SECONDS", 0.001)
    news = page._news(visit_of(state), "r", page._Follower(None, "", 0, 1, 0, ""))
    assert await anext(news) == told
    await news.aclose()
