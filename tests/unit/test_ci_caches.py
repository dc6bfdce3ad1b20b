"""Which branch's caches a run may use."""

from typing import Any

import pytest

from stepwell.ci.caches import rights_of, setups_of
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


@pytest.mark.parametrize(
    ("rights", "metadata", "setups"),
    [
        (CacheRights(("main",), "main"), {"commit": "c0"}, ("main",)),
        (CacheRights(("topic", "main"), "topic"), {"commit": "c0"}, ("main", "topic")),
        (CacheRights(("release/1",), "release/1"), {}, ("release/1",)),
        (CacheRights(("main",), None), {"commit": "c0", "tag": "v1"}, ("main", "commit:c0")),
        (CacheRights((), None), {"plan": "p", "person": "ada", "commit": "c0"}, ('plans:["ada", null]',)),
        (CacheRights((), None), {"plan": "p", "person": "ada", "lent": ["s"]}, ('plans:["ada", ["s"]]',)),
    ],
)
def test_setups_are_made_for_ones_own_ref_and_taken_of_the_default_branch_too(
    rights: CacheRights, metadata: dict[str, Any], setups: tuple[str, ...]
) -> None:
    assert setups_of(rights, metadata) == setups
