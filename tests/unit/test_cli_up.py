"""What `stepwell up` does before it starts anything."""

import resource

import pytest

from stepwell.cli import up


def test_the_server_takes_the_descriptors_that_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft // 2, hard))
    try:
        monkeypatch.setattr(up, "MOST_DESCRIPTORS", soft)
        up.take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
        monkeypatch.setattr(up, "MOST_DESCRIPTORS", 10)
        up.take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)  # never fewer
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
