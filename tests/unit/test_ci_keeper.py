"""The keeper's thread: it looks at once, finishes what it is told of, and stops."""

import threading

import pytest

from stepwell.ci import keeper
from stepwell.ci.keeper import Keeper


def test_it_looks_at_every_open_push_when_it_starts() -> None:
    ages: list[float] = []
    looked = threading.Event()

    def look(age: float) -> None:
        ages.append(age)
        looked.set()

    kept = Keeper(look, lambda: None)
    kept.start()
    assert looked.wait(60)
    kept.stop()
    assert ages[0] == 0.0


def test_it_finishes_pushes_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "REST_SECONDS", 0.0)
    calls: list[int] = []
    second = threading.Event()

    def finish() -> None:
        calls.append(1)
        if len(calls) == 1:
            kept.nudge()
            raise RuntimeError("disk full")
        second.set()

    kept = Keeper(lambda _: None, finish)
    kept.start()
    kept.nudge()
    assert second.wait(60)
    kept.stop()


def test_each_minute_it_removes_and_relaxes_whatever_fails_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY_SECONDS", 0.0)
    calls: list[str] = []
    relaxed = threading.Event()

    def retain() -> None:
        calls.append("retain")
        raise OSError("disk full")

    def relax() -> None:
        calls.append("relax")
        relaxed.set()

    kept = Keeper(lambda _: None, lambda: None, relax, retain)
    kept.start()
    assert relaxed.wait(60)
    kept.stop()
    assert calls[:2] == ["retain", "relax"]
