"""What is removed of a container engine that may be away."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stepwell_runners import container_jobs
from stepwell_runners.container_jobs import removed


@dataclass
class Engine:
    """An engine that may be away, and what it has removed."""

    away: bool = False
    gone: list[str] = field(default_factory=list)

    def removal(self, name: str) -> Callable[[], None]:
        def remove() -> None:
            if self.away:
                raise ConnectionRefusedError(111, "Connection refused")
            self.gone.append(name)

        return remove


@pytest.fixture(autouse=True)
def nothing_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_jobs, "_owed", deque())


def test_what_an_engine_that_was_away_kept_goes_when_it_is_back() -> None:
    engine, other = Engine(away=True), Engine()
    removed(engine.removal("one"))
    removed(engine.removal("two"))
    removed(other.removal("its"))
    assert (engine.gone, other.gone) == ([], ["its"])
    engine.away = False
    removed(other.removal("more"))
    assert engine.gone == ["two", "one"]


def test_a_refusal_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    import docker.errors

    tried = []

    def refused() -> None:
        tried.append("refused")
        raise docker.errors.APIError("volume is in use")

    removed(refused)
    removed(Engine().removal("one"))
    assert tried == ["refused"] and "until the next start" in caplog.text
