"""What a pipeline declares becomes a run's place among others."""

from typing import Any

from stepwell.authoring.order import Rate
from stepwell.ci.order import LONGEST_NAME, order_of
from stepwell.ci.triggers import Declared
from stepwell.engine.order import NO_ORDER, Order


def declared(group: str = "", policy: str = "queue", **more: Any) -> Declared:
    return Declared(
        "Ship", "pipeline.py:Ship", concurrency={"group": group, "policy": policy} if group else None, **more
    )


def test_a_group_is_named_after_what_happened() -> None:
    pipeline = declared("{kind} {branch}{tag} {sha}", "newest")
    assert order_of(pipeline, {"kind": "push", "branch": "main", "tag": None, "sha": "abc"}) == Order(
        "push main abc", "newest"
    )


def test_without_a_group_a_run_stands_alone() -> None:
    assert order_of(declared(), {"branch": "main"}) == NO_ORDER


def test_a_rate_counts_by_its_key_or_by_the_pipelines_name() -> None:
    keyed = declared(rate_limit={"key": "to-{branch}", "runs": 2, "seconds": 60.0}, priority=5)
    assert order_of(keyed, {"branch": "main"}) == Order(rate=Rate("to-main", 2, 60.0), priority=5)
    own = declared("ship", rate_limit={"key": "", "runs": 2, "seconds": 60.0})
    assert order_of(own, {}) == Order("ship", rate=Rate("Ship", 2, 60.0))


def test_the_longest_branches_are_told_apart_by_names_that_fit() -> None:
    pipeline = declared("ship-{branch}", rate_limit={"key": "{branch}", "runs": 1, "seconds": 1.0})
    orders = [order_of(pipeline, {"branch": "b" * 5000 + end}).checked(0.0) for end in ("", "1", "2")]
    for names in ({order.group for order in orders}, {order.rate.key for order in orders if order.rate}):
        assert len(names) == 3
        assert {len(name) for name in names} == {LONGEST_NAME}


def test_a_branch_that_is_no_text_has_a_group_all_the_same() -> None:
    order = order_of(declared("{branch}", "cancel"), {"branch": "caf\udce9"})
    assert order.checked(0.0).group == "caf\\udce9"
