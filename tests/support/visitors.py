"""Who visits the app over services in memory, without a socket in between."""

from collections.abc import Mapping

import httpx
from fixture_services import FixtureServices

from stepwell_web.app import create_app

URL = "http://testserver"
ADMIN = {"Cookie": "stepwell=admin-session"}
STRANGER = {"Cookie": "stepwell=stranger-session"}
SAME = {"Sec-Fetch-Site": "same-origin"}
"""What browsers say of a form of our own."""


def client(given: FixtureServices, headers: Mapping[str, str] = ADMIN, *, raises: bool = True) -> httpx.AsyncClient:
    """Open a browser on our own pages; what the app fails on is raised, or without `raises` answered as by a server."""
    app = create_app(given)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
    return httpx.AsyncClient(transport=transport, base_url=URL, headers={"Origin": URL, **headers})
