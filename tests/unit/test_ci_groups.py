"""A declared group becomes a run's place among others."""

from stepwell.ci.groups import LONGEST_NAME, order_of
from stepwell.engine.order import NO_ORDER, Order


def test_a_group_is_named_after_what_happened() -> None:
    declared = {"group": "{kind} {branch}{tag} {sha}", "policy": "newest"}
    assert order_of(declared, {"kind": "push", "branch": "main", "tag": None, "sha": "abc"}) == Order(
        "push main abc", "newest"
    )


def test_without_a_group_a_run_stands_alone() -> None:
    assert order_of(None, {"branch": "main"}) == NO_ORDER


def test_the_longest_branches_are_told_apart_by_names_that_fit() -> None:
    declared = {"group": "ship-{branch}", "policy": "queue"}
    names = {order_of(declared, {"branch": "b" * 5000 + end}).checked(0.0).group for end in ("", "1", "2")}
    assert len(names) == 3
    assert {len(name) for name in names} == {LONGEST_NAME}


def test_a_branch_that_is_no_text_has_a_group_all_the_same() -> None:
    order = order_of({"group": "{branch}", "policy": "cancel"}, {"branch": "caf\udce9"})
    assert order.checked(0.0).group == "caf\\udce9"
