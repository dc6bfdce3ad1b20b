"""Caches on disk: found by key, bounded, and never removed from under who uses them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.store.caches import CacheFiles, CacheKey

Save = Callable[..., CacheKey]
BOTH = ("topic", "main")


@pytest.fixture
def caches(tmp_path: Path) -> CacheFiles:
    return CacheFiles(tmp_path / "caches", 100, lambda: 50.0)


@pytest.fixture
def save(caches: CacheFiles) -> Save:
    def saved(key: str, branch: str = "main", at: float = 1.0, size: int = 30, repository: str = "acme/1") -> CacheKey:
        made = CacheKey(key, branch, ("deps",), f"digest of {key}", size, 1, at, at, "run")
        fresh = caches.fresh(repository)
        (fresh / "files" / "deps").write_text(key)
        caches.keep(repository, fresh, made)
        return made

    return saved


def test_the_nearest_branch_and_the_exact_key_come_first(caches: CacheFiles, save: Save) -> None:
    for key, branch, at in (("pip-1", "main", 1), ("pip-2", "main", 2), ("pip-1", "topic", 3), ("other", "topic", 4)):
        save(key, branch, at, 1)

    def found(key: str, prefixes: tuple[str, ...] = (), branches: tuple[str, ...] = BOTH) -> tuple[str, str] | None:
        one = caches.find("acme/1", branches, [key], prefixes, ("deps",))
        return (one.branch, one.key) if one else None

    assert found("pip-1") == ("topic", "pip-1") and found("pip-2") == ("main", "pip-2")
    assert found("pip-9") is None
    assert found("pip-9", ("pip-",)) == ("topic", "pip-1")
    assert found("pip-9", ("pip-",), ("main",)) == ("main", "pip-2")  # the newest
    assert found("pip-1", (), ("another",)) is None
    assert caches.find("acme/1", BOTH, ["pip-1"], [], ("elsewhere",)) is None
    assert caches.find("acme/2", BOTH, ["pip-1"], [], ("deps",)) is None


def test_what_was_used_least_recently_goes_first_and_what_is_held_stays(caches: CacheFiles, save: Save) -> None:
    first = save("a", at=1)
    save("b", at=2)
    save("c", at=3)
    with caches.held("acme/1", first) as files:
        assert files is not None  # used at 50 now
        save("d", at=4)
        assert [one.key for one in caches.keys("acme/1")] == ["a", "d", "c"]
        assert len(caches.remove("acme/1")) == 3 and caches.keys("acme/1") == []
        assert (files / "deps").read_text() == "a"
    with caches.held("acme/1", first) as again:
        assert again is not None
    caches.recover()
    with caches.held("acme/1", first) as gone:
        assert gone is None


def test_nothing_of_one_cache_is_kept_when_it_alone_is_too_large(caches: CacheFiles, save: Save) -> None:
    save("huge", size=101)
    assert caches.keys("acme/1") == []


def test_what_was_being_filled_at_a_crash_is_gone(caches: CacheFiles, save: Save, tmp_path: Path) -> None:
    save("a")
    caches.fresh("acme/1")
    (next((tmp_path / "caches").glob("*/keys")) / "broken.json").write_text("{")
    caches.recover()
    assert list((tmp_path / "caches").glob("*/new/*")) == [] and [one.key for one in caches.keys("acme/1")] == ["a"]
