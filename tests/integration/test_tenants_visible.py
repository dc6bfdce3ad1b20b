"""What is narrowed by hand-written SQL is what the one condition of all other queries narrows to, for every actor."""

from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from stepwell.store.store import Store
from stepwell.store.tables import Repository, Tenant
from stepwell.tenants import NOBODY, Actor
from stepwell.tenants.scope import Scope, visible

ACME = Actor("p1", "ann", {"acme": "viewer"})
ACTORS = {
    "nobody": (NOBODY, []),
    "one tenant": (ACME, ["acme/api", "acme/web"]),
    "two tenants": (Actor("p2", "bob", {"acme": "owner", "globex": "viewer"}), ["acme/api", "acme/web", "globex/api"]),
    "a token for a repository": (Actor("p1", "ann", {"acme": "viewer"}, repository="acme/web"), ["acme/web"]),
    "a token for one of another tenant": (Actor("p1", "ann", {"acme": "viewer"}, repository="globex/api"), []),
    "a token that may not read": (Actor("p1", "ann", {"acme": "owner"}, scopes=frozenset({"write"})), []),
    "a tenant named like SQL": (Actor("p3", "eve", {"' OR 1=1 --": "owner"}), []),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "s.db")
    with store.write() as session:
        for tenant, names in (("acme", ("web", "api")), ("globex", ("api",))):
            session.add(Tenant(name=tenant, created_at=1.0))
            session.flush()
            for name in names:
                session.add(Repository(id=f"{tenant}-{name}", tenant=tenant, name=name, created_at=1.0))
    return store


def by_condition(session: Session, actor: Actor) -> list[str]:
    name = col(Repository.tenant) + "/" + col(Repository.name)
    query = select(Repository).where(visible(actor, col(Repository.tenant), name))
    return sorted(row.full_name for row in session.exec(query))


@pytest.mark.parametrize("who", ACTORS)
def test_both_conditions_show_an_actor_the_same(store: Store, who: str) -> None:
    actor, expected = ACTORS[who]
    assert [row.full_name for row in Scope(store).repositories(actor)] == expected
    with store.read() as session:
        assert by_condition(session, actor) == expected
    of_acme = [name for name in expected if name.startswith("acme/")]
    assert [row.full_name for row in Scope(store).repositories(actor, "acme")] == of_acme
    store.close()


def test_a_repository_comes_with_all_that_its_row_has(store: Store) -> None:
    row = Scope(store).repository(ACME, "acme", "api")
    with store.read() as session:
        assert row.model_dump() == session.get_one(Repository, "acme-api").model_dump()
    store.close()
