"""A password is set on one's page and signs in, in a real browser."""

from collections.abc import Iterator

import pytest
from browsers import sign_in
from live import LiveServer
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("password") / "state")
    live.start()
    yield live
    live.stop()


def test_a_password_is_set_and_signs_in_and_other_browsers_are_signed_out(browser: Browser, server: LiveServer) -> None:
    page, other = (browser.new_context().new_page() for _ in range(2))
    sign_in(page, server)
    sign_in(other, server)
    page.goto(f"{server.url}/tokens")
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("status").filter(has_text="Your password is set")).to_have_count(0)
    page.get_by_label("New password").fill("correct horse")
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_text("Your password is set. Other browsers are signed out.")).to_be_visible()
    other.goto(f"{server.url}/tokens")
    expect(other.get_by_role("heading", name="Sign in to Stepwell")).to_be_visible()
    name = page.locator("#password .hint-text").inner_text().removesuffix(".").rpartition(" ")[2]
    other.get_by_label("Name").fill(name)
    other.get_by_label("Password").fill("correct horse")
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("heading", name="Access tokens")).to_be_visible()
    for one in (page, other):
        one.context.close()
