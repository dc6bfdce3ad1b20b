"""People and their ways in, on a real database."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Semaphore

import pytest
from houses import House

from stepwell.errors import Conflict, Denied, Invalid, NotFound, TryLater
from stepwell.store.tables import Session, SigninLink, Token

DAY = 86400.0


def test_the_first_start_makes_an_owner_and_the_second_finds_them(house: House) -> None:
    assert house.admin.roles == {"acme": "owner"}
    assert house.admin.admin
    assert house.tenants.bootstrap("another", "other").id == house.admin.person


def test_a_link_signs_in_once(house: House) -> None:
    code = house.tenants.links.issue("admin")
    assert house.tenants.links.redeem(code).name == "admin"
    with pytest.raises(Denied, match="stepwell signin"):
        house.tenants.links.redeem(code)


def test_a_link_expires(house: House) -> None:
    code = house.tenants.links.issue("admin", minutes=10)
    house.time += 600
    with pytest.raises(Denied):
        house.tenants.links.redeem(code)
    with pytest.raises(Denied):
        house.tenants.links.redeem("never existed")


def test_a_session_lasts_until_it_is_closed_or_expires(house: House) -> None:
    sessions = house.tenants.sessions
    first, second = sessions.open(house.admin.person), sessions.open(house.admin.person)
    found = sessions.actor(first)
    assert found is not None
    assert (found.name, found.via) == ("admin", "session")
    sessions.close(first)
    assert sessions.actor(first) is None
    assert sessions.actor(second) is not None
    house.time += 31 * DAY
    assert sessions.actor(second) is None


def test_no_way_in_stands_readable_in_the_database(house: House) -> None:
    secrets = [
        house.tenants.links.issue("admin"),
        house.tenants.sessions.open(house.admin.person),
        house.tenants.tokens.issue(house.admin, "t").secret,
    ]
    kept = b"".join(path.read_bytes() for path in house.store.database.parent.glob("s.db*"))
    for secret in secrets:
        assert secret.encode() not in kept


def test_a_token_works_until_it_expires(house: House) -> None:
    issued = house.tenants.tokens.issue(house.admin, "ci", days=1)
    assert issued.secret.startswith("sw_")
    actor = house.tenants.tokens.actor(issued.secret)
    assert actor is not None
    assert (actor.name, actor.via, set(actor.scopes)) == ("admin", "token", {"read", "write", "approve"})
    assert not actor.admin
    house.time += DAY
    assert house.tenants.tokens.actor(issued.secret) is None
    assert house.tenants.tokens.list(house.admin) == []


def test_a_revoked_token_is_nobodys(house: House) -> None:
    issued = house.tenants.tokens.issue(house.admin, "ci", days=None)
    ann = house.person("ann", "owner")
    with pytest.raises(NotFound):
        house.tenants.tokens.revoke(ann, issued.token.id)
    house.tenants.tokens.revoke(house.admin, issued.token.id)
    assert house.tenants.tokens.actor(issued.secret) is None
    assert house.tenants.tokens.actor("sw_unknown") is None
    assert house.tenants.tokens.actor("") is None


def test_strangers_who_sign_in_at_once_do_not_take_every_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    people, begun, go_on = house.tenants.people, Semaphore(0), Event()

    def slow(name: str) -> None:
        begun.release()
        go_on.wait()

    monkeypatch.setattr(people, "by_name", slow)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(people.check_password, f"nobody{number}", "wrong") for number in range(8)]
        for _ in waiting:
            begun.acquire()
        try:
            with pytest.raises(TryLater, match="sign in at this moment"):
                people.check_password("admin", "wrong")
        finally:
            go_on.set()
        assert all(isinstance(one.exception(), Denied) for one in waiting)
    with pytest.raises(Denied):
        people.check_password("admin", "wrong")


def test_a_token_neither_sees_nor_ends_one_that_may_do_more(house: House) -> None:
    tokens = house.tenants.tokens
    wide = tokens.issue(house.admin, "wide", scopes=("read", "write"))
    narrow = tokens.issue(house.admin, "narrow", scopes=("read",), tenant="acme")
    actor = tokens.actor(narrow.secret)
    assert actor is not None
    assert [one.name for one in tokens.list(actor)] == ["narrow"]
    with pytest.raises(NotFound, match="no more than the one you came with"):
        tokens.revoke(actor, wide.token.id)
    assert tokens.actor(wide.secret) is not None
    tokens.revoke(actor, narrow.token.id)
    assert tokens.actor(narrow.secret) is None
    assert {one.name for one in tokens.list(house.admin)} == {"wide"}


def test_a_token_loses_with_its_person(house: House) -> None:
    secret = house.tenants.tokens.issue(house.person("ann", "maintainer"), "t").secret
    house.tenants.members.put(house.admin, "acme", "ann", "viewer")
    actor = house.tenants.tokens.actor(secret)
    assert actor is not None
    assert not actor.may("write", "acme")
    house.tenants.members.remove(house.admin, "acme", "ann")
    actor = house.tenants.tokens.actor(secret)
    assert actor is not None
    assert actor.tenants == ()


def test_a_token_cannot_issue_a_stronger_one(house: House) -> None:
    tokens = house.tenants.tokens
    weak = tokens.actor(tokens.issue(house.admin, "t", scopes=("read",)).secret)
    assert weak is not None
    with pytest.raises(Denied, match="may do more than itself"):
        tokens.issue(weak, "more", scopes=("read", "write"))
    house.repository()
    narrow = tokens.actor(tokens.issue(house.admin, "t", tenant="acme", repository="api").secret)
    assert narrow is not None
    with pytest.raises(Denied):
        tokens.issue(narrow, "wider", tenant="acme")


@pytest.mark.parametrize("wrong", [{"scopes": ("all",)}, {"scopes": ()}, {"days": 0}, {"days": 5000}, {"name": " "}])
def test_a_token_asked_for_wrongly_is_refused(house: House, wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        house.tenants.tokens.issue(house.admin, **{"name": "t", **wrong})  # type: ignore[arg-type]


def test_a_token_for_a_tenant_of_others_cannot_be_made(house: House) -> None:
    house.tenants.create(house.admin, "other")
    with pytest.raises(NotFound):
        house.tenants.tokens.issue(house.person("ann", "owner"), "t", tenant="other")


def test_the_last_owner_stays(house: House) -> None:
    with pytest.raises(Conflict, match="no owner"):
        house.tenants.members.put(house.admin, "acme", "admin", "viewer")
    with pytest.raises(Conflict):
        house.tenants.members.remove(house.admin, "acme", "admin")
    house.person("ann", "owner")
    house.tenants.members.remove(house.admin, "acme", "admin")


def test_only_owners_change_members(house: House) -> None:
    ann = house.person("ann", "maintainer")
    with pytest.raises(Denied):
        house.tenants.members.put(ann, "acme", "ann", "owner")
    with pytest.raises(Denied):
        house.tenants.people.add(ann, "bob")
    with pytest.raises(Denied):
        house.tenants.create(ann, "annland")


def test_a_password_signs_in_and_a_wrong_one_says_nothing(house: House) -> None:
    ann = house.person("ann")
    house.tenants.people.set_password(ann, "correct horse")
    assert house.tenants.people.check_password("ann", "correct horse").name == "ann"
    for name, password in (("ann", "wrong horse"), ("nobody", "correct horse"), ("admin", "correct horse")):
        with pytest.raises(Denied, match="Name or password is wrong"):
            house.tenants.people.check_password(name, password)
    with pytest.raises(Denied, match="Tokens may not"):
        house.tenants.people.set_password(replace(ann, via="token"), "a token's own")
    with pytest.raises(Invalid, match="Use 10 to 1000"):
        house.tenants.people.set_password(ann, "short")


def test_who_just_signed_in_is_told_apart_and_other_sessions_end(house: House) -> None:
    sessions, ann, ben = house.tenants.sessions, house.person("ann"), house.person("ben")
    old = sessions.open(ann.person)
    house.time += 15 * 60
    new, bens = sessions.open(ann.person), sessions.open(ben.person)
    assert [sessions.recent(one) for one in (old, new, "none")] == [False, True, False]
    sessions.close_others(new)
    assert [sessions.actor(one) is not None for one in (old, new, bens)] == [False, True, True]


def test_changes_of_power_are_on_record(house: House) -> None:
    house.person("ann", "developer")
    house.tenants.secrets.put(house.admin, "acme", "KEY", "value")
    entries = house.tenants.audit.list(house.admin, "acme")
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("admin", "secret.put", "KEY"),
        ("admin", "member.put", "ann"),
        ("stepwell", "tenant.create", "acme"),
    ]
    assert "value" not in str(entries)
    with pytest.raises(Denied):
        house.tenants.audit.list(house.person("ann"), "acme")


def test_repositories_of_others_do_not_exist(house: House) -> None:
    house.tenants.create(house.admin, "other")
    house.repository()
    hidden = house.repository("secret", "other")
    ann = house.person("ann", "developer")
    assert [row.full_name for row in house.tenants.scope.repositories(ann)] == ["acme/api"]
    assert house.tenants.scope.repositories(ann, "other") == []
    with pytest.raises(NotFound) as hiding:
        house.tenants.scope.repository(ann, "other", "secret")
    with pytest.raises(NotFound) as missing:
        house.tenants.scope.repository(ann, "other", "nothing")
    assert str(hiding.value).replace("secret", "nothing") == str(missing.value)
    assert house.tenants.scope.repository(house.tenants.people.actor(house.admin.person), "other", "secret") == hidden


def test_rows_of_ways_in_hold_hashes_only() -> None:
    for table in (Token, Session, SigninLink):
        assert "secret" not in table.model_fields


def test_a_token_for_one_tenant_issues_none_for_others(house: House) -> None:
    house.tenants.create(house.admin, "other")
    admin = house.tenants.people.actor(house.admin.person)
    tokens = house.tenants.tokens
    narrow = tokens.actor(tokens.issue(admin, "acme only", scopes=("read", "own"), tenant="acme").secret)
    assert narrow is not None and narrow.tenants == ("acme",) and not narrow.admin
    for tenant in ("", "other"):
        with pytest.raises((Denied, NotFound)):
            tokens.issue(narrow, "wider", scopes=("read",), tenant=tenant)
    assert tokens.issue(narrow, "same", scopes=("read",), tenant="acme").token.tenant == "acme"


def test_a_token_issues_none_that_outlives_it(house: House) -> None:
    tokens = house.tenants.tokens
    brief = tokens.actor(tokens.issue(house.admin, "brief", days=1).secret)
    assert brief is not None
    for days in (3650, None):
        assert tokens.issue(brief, "long", days=days).token.expires_at == house.time + DAY


def test_passwords_cannot_be_guessed_at_will(house: House) -> None:
    people = house.tenants.people
    people.set_password(house.admin, "correct horse battery")
    for _ in range(10):
        with pytest.raises(Denied):
            people.check_password("admin", "wrong wrong wrong")
    with pytest.raises(TryLater):
        people.check_password("admin", "correct horse battery")
    house.time += 301
    assert people.check_password("admin", "correct horse battery").name == "admin"


def test_names_nobody_has_fill_no_memory(house: House) -> None:
    people = house.tenants.people
    people._wrong.update({f"n{number}": [house.time] for number in range(10_000)})
    with pytest.raises(Denied):
        people.check_password("one more", "wrong wrong wrong")
    assert len(people._wrong) <= 10_000
