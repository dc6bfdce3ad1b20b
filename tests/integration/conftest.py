"""What the tests of the engine share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engines import Workshop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    """A place for one engine at a time, over isolates without a wall."""
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()
