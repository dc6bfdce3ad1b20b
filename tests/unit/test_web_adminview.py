"""The installation in words: what needs somebody apart from what is well, tenants of which only some may be entered."""

from pathlib import Path

from fixture_installation import FixtureInstallation

from stepwell.settings import Settings
from stepwell.tenants import Actor
from stepwell_web.adminview import shown

NOW = 1_795_953_600.0
OWNER = Actor("p1", "ida", {"acme": "owner"}, via="session")


def test_checks_tenants_and_dead_runs_are_sorted_by_what_is_to_do(tmp_path: Path) -> None:
    told = shown(FixtureInstallation(Settings(state=tmp_path), NOW, empty=False).of(OWNER), OWNER.tenants)
    assert [one.name for one in told.lacking] == ["trees"] and len(told.well) == 6
    assert [one.number for one in told.gauges] == ["5 of 8", "5 of 50", "2 of 4", "3 of 4"]
    acme, umbrella, home = told.tenants
    assert (acme.title, acme.open, acme.busy, acme.queue, acme.waiting, acme.dead) == ("Acme", True, 5, 9, 41, "3")
    assert (umbrella.title, umbrella.open, umbrella.dead, home.dead) == ("", False, "870+", "0")
    assert [(one.tenant, one.open, one.number) for one in told.dead] == [
        ("acme", True, "2"), ("acme", True, "1"), ("umbrella", False, "870+"),
    ]  # fmt: skip
    assert (told.kinds[0].name, told.kinds[0].percent) == ("Trees of commits", 100.0)
    assert {one.name for one in told.given} == {"STEPWELL_STATE", "STEPWELL_DOCKER_HOST"}


def test_before_the_first_look_it_tells_what_it_knows(tmp_path: Path) -> None:
    told = shown(FixtureInstallation(Settings(state=tmp_path), NOW, empty=True).of(OWNER), OWNER.tenants)
    assert (told.lacking, told.well, told.tenants, told.dead, told.kinds) == ((), (), (), (), ())
    assert [one.number for one in told.gauges] == ["0 of 8", "0 of 50", "2 of 4", "3 of 4"]
