from datetime import timedelta

import pytest

from stepwell.authoring.durations import seconds_of, spoken


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("15 minutes", 900), ("1.5 hours", 5400), ("1h30m", 5400), ("1 hour and 5 min", 3900),
        ("2 days, 3 hours", 183600),
        ("500 ms", 0.5), ("7 Days", 604800), (90, 90), (0.25, 0.25), (timedelta(minutes=2), 120), ("0 s", 0),
    ],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(value: object, seconds: float) -> None:
    assert seconds_of(value) == seconds


@pytest.mark.parametrize("value", ["", "soon", "15", "15 parsecs", "minutes", "-3 minutes", "3 minutes ago", "1e3 s"])
def test_a_text_that_is_no_duration_is_quoted_with_the_remedy(value: str) -> None:
    with pytest.raises(ValueError, match="timeout has value") as caught:
        seconds_of(value, "timeout")
    assert repr(value) in str(caught.value)
    assert "15 minutes" in str(caught.value)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), timedelta(seconds=-1), "4000 weeks"])
def test_a_duration_out_of_bounds_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="between 0 and 10 years"):
        seconds_of(value)


@pytest.mark.parametrize("value", [None, True, [], b"1 s"])
def test_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="duration has value"):
        seconds_of(value)


def test_durations_are_spoken_in_the_largest_unit_that_they_are_whole_in() -> None:
    told = {60: "1 minute", 90: "90 seconds", 3600: "1 hour", 259200: "3 days", 604800: "1 week", 0.5: "0.5 seconds"}
    assert {seconds: spoken(seconds) for seconds in told} == told
