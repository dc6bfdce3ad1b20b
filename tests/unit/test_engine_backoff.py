"""Retries come as often and as late as the step's options say."""

from typing import Any

import pytest

from stepwell.engine.backoff import retry_delay


@pytest.mark.parametrize(
    ("retries", "delays"),
    [
        (None, [None]),
        (2, [10, 20, None]),
        ({"max": 3, "delay": 1, "backoff": "exponential", "cap": 3}, [1, 2, 3, None]),
        ({"max": 3, "delay": 1, "backoff": "linear", "cap": 60}, [1, 2, 3, None]),
        ({"max": 2, "delay": 5, "backoff": "constant", "cap": 60}, [5, 5, None]),
    ],
)
def test_delay_after_each_failure(retries: Any, delays: list[float | None]) -> None:
    options = {} if retries is None else {"retries": retries}
    assert [retry_delay(options, failures) for failures in range(1, len(delays) + 1)] == delays


def test_jitter_spreads_delays_around_what_was_asked() -> None:
    options = {"retries": {"max": 1, "delay": 100, "backoff": "constant", "cap": 115, "jitter": 0.2}}
    delays = [delay for _ in range(200) if (delay := retry_delay(options, 1)) is not None]
    assert 80 <= min(delays) < 90 and 110 < max(delays) <= 115
