"""How Chromium is started, how a person signs in with it, and what it complains about."""

from live import LiveServer
from playwright.sync_api import Page

# Without a sandbox, which root has none of, and without calls to its makers.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def sign_in(page: Page, server: LiveServer) -> None:
    """Sign the first person in by a link; the page is at home then, or at the approvals if some wait."""
    page.goto(server.signin_link())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/signin" not in url)


def complaints_of(page: Page) -> list[str]:
    """Keep what the browser says from now on: its console, violations of the content security policy, errors."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: complaints.append(f"error: {e}"))
    return complaints
