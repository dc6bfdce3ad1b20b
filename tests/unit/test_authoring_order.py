"""What authors declare about the order of runs, as data."""

import pytest

from stepwell import group, rate
from stepwell.authoring.durations import Duration


def test_groups_know_their_placeholders_and_policies() -> None:
    assert group("ship-{branch}", "cancel").as_json() == {"group": "ship-{branch}", "policy": "cancel"}
    with pytest.raises(ValueError, match=r"uses \['user'\]"):
        group("{user}")
    with pytest.raises(ValueError, match="group policy has value 'drop'"):
        group("x", "drop")  # type: ignore[arg-type]


def test_rates_are_data() -> None:
    assert rate(3, "1 hour", key="ship-{branch}").as_json() == {"key": "ship-{branch}", "runs": 3, "seconds": 3600.0}


@pytest.mark.parametrize(
    ("runs", "per", "key", "told"),
    [
        (0, "1 hour", "", "rate allows 0 runs. Write a whole number from 1 to 10,000"),
        (10_001, "1 hour", "", "rate allows 10001 runs"),
        (True, "1 hour", "", "rate allows True runs"),
        (1, 0, "", 'rate has per 0. Write a time above 0, like "1 hour"'),
        (1, "soon", "", "rate per has value 'soon'"),
        (1, "1 hour", "{user}", r"rate key '{user}' uses \['user'\]"),
        (1, "1 hour", "k" * 201, "Write up to 200 characters"),
    ],
)
def test_a_rate_that_nobody_could_keep_is_refused(runs: int, per: Duration, key: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rate(runs, per, key=key)
