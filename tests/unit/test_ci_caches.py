"""Which branch's caches a run may use."""

import pytest

from stepwell.ci.caches import rights_of
from stepwell.engine.seams import CacheRights
from stepwell.store.tables import Repository


@pytest.mark.parametrize(
    ("protected", "branch", "rights"),
    [
        (["main"], "main", CacheRights(("main",), "main")),
        (["main"], "topic", CacheRights(("topic", "main"), "topic")),
        (["main", "release/*"], "release/1", CacheRights(("release/1", "main"), "release/1")),
        (["release/*"], "release/1", CacheRights(("release/1",), "release/1")),  # anybody may rewrite main
        (["main"], "", CacheRights(("main",), None)),
    ],
)
def test_a_branch_sees_its_own_and_the_default_branchs(protected: list[str], branch: str, rights: CacheRights) -> None:
    repository = Repository(id="r", tenant="acme", name="api", created_by="a", created_at=0.0, protected=protected)
    assert rights_of(repository, branch) == rights
