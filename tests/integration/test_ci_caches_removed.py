"""Caches as people see and remove them, over the real rooms."""

from pathlib import Path

import pytest
from places import Place

from stepwell.errors import Denied
from stepwell.store.caches import CacheFiles, CacheKey


def test_a_key_goes_alone_and_the_audit_log_says_who_took_it(tmp_path: Path) -> None:
    place = Place(tmp_path).start()
    try:
        repository, caches = place.repository(), place.services.caches
        files = CacheFiles(place.services.settings.state / "caches", 1 << 20)
        for key, branch in (("pip-1", "main"), ("pip-12", "main"), ("pip-1", "topic")):
            made = CacheKey(key, branch, ("deps",), f"{key} {branch}", 1, 1, 1.0, 1.0, "run")
            files.keep(f"acme/{repository.id}", files.fresh(f"acme/{repository.id}"), made)
        with pytest.raises(Denied):
            caches.remove_key(place.person("dev", "developer"), "acme", "api", "pip-1", "main")
        assert caches.remove_key(place.admin(), "acme", "api", "pip-1", "main") == 1
        assert caches.remove_key(place.admin(), "acme", "api", "pip-1", "main") == 0
        left = {(one.key, one.branch) for one in caches.list(place.admin(), "acme", "api")}
        assert left == {("pip-12", "main"), ("pip-1", "topic")}
        entry = place.services.tenants.audit.list(place.admin(), "acme")[1]
        assert (entry.action, entry.subject, entry.detail["key"], entry.detail["removed"]) == (
            "caches.remove", "api", "pip-1", 1,
        )  # fmt: skip
    finally:
        place.stop()
