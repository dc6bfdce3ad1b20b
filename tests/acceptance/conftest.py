"""What the tests in a browser share."""

from collections.abc import Iterator

import pytest
from browsers import FLAGS
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """A Chromium for the tests of a file; each opens a context of its own in it."""
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield launched
        launched.close()
