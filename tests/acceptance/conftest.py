"""What the tests in a browser share, and those of commands."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import FLAGS
from command_line import Terminal
from looked import visit
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import Served

expect.set_options(timeout=30_000)  # four workers may share two cores: how long a page takes is no subject here
NO_WALL = "There is no wall around steps: this host gives no user namespaces."


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pages of people who have worked for long."""
    with Served(tmp_path_factory.mktemp("full"), False) as served:
        yield served


@pytest.fixture
def page(browser: Browser, full: Served) -> Iterator[Page]:
    """A page of somebody who is signed in; run 1842, which tests change, is afterwards as it was."""
    before = full.services.views["run1842"]
    page = visit(browser, full)
    yield page
    page.context.close()
    full.services.views["run1842"] = before


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pages of somebody who has just begun, on a host without a wall."""
    with Served(tmp_path_factory.mktemp("empty"), True, NO_WALL) as served:
        yield served


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Somebody at a terminal, with a server of their own."""
    terminal = Terminal(tmp_path_factory.mktemp("person"))
    with terminal.server():
        yield terminal


@pytest.fixture(scope="session")
def tools_kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example's toolchains lie once a demo has installed them: one place for all workers."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tools-kept"


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """A Chromium for the tests of a file; each opens a context of its own in it."""
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield launched
        launched.close()
