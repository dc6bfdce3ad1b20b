import json

import pytest

from stepwell import FinalError, Retry
from stepwell.authoring.retries import FUNCTION_DEFAULT, RetryFunction, RetryRefused, retries_of, retry_of


def test_functions_are_retried_five_times_exponentially_from_ten_seconds() -> None:
    assert FUNCTION_DEFAULT.max == 5
    assert [FUNCTION_DEFAULT.delay_after(n) for n in range(1, 6)] == [10, 20, 40, 80, 160]


def test_delays_grow_as_asked_and_stop_at_the_cap() -> None:
    assert [Retry(9, "1 s", "linear").delay_after(n) for n in (1, 2, 3)] == [1, 2, 3]
    assert [Retry(9, 4, "constant").delay_after(n) for n in (1, 7)] == [4, 4]
    assert Retry(1000, 1, cap="1 minute").delay_after(1000) == 60


def test_a_number_is_how_often() -> None:
    assert retry_of(2).max == 2


@pytest.mark.parametrize("value", [-1, 1001, True, "3", None, 1.5])
def test_wrong_retries_are_quoted(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="retries has value") as caught:
        retry_of(value)
    assert repr(value) in str(caught.value)


def test_a_wrong_backoff_is_quoted() -> None:
    with pytest.raises(ValueError, match="backoff has value 'quadratic'"):
        Retry(1, backoff="quadratic")  # type: ignore[arg-type]


def test_jitter_spreads_delays_around_what_was_asked() -> None:
    delays = [Retry(9, 100, "constant", jitter=0.2).delay_after(1) for _ in range(200)]
    assert 80 <= min(delays) < 90 and 110 < max(delays) <= 120
    assert Retry(9, 100, "constant", cap=101, jitter=0.2).delay_after(1) <= 101


@pytest.mark.parametrize("jitter", [-0.1, 1.5, True, "10 %"])
def test_a_wrong_jitter_is_quoted(jitter: object) -> None:
    with pytest.raises(ValueError, match="jitter has value"):
        Retry(1, jitter=jitter)  # type: ignore[arg-type]


def test_the_json_form_has_a_jitter_only_where_there_is_one() -> None:
    assert Retry(1, 2, jitter=0.5).as_json()["jitter"] == 0.5
    assert "jitter" not in Retry(1, 2).as_json()


@pytest.mark.parametrize("retry", [Retry(), Retry(2, "1 s", "linear", "1 minute", jitter=0.5), retry_of(3)])
def test_the_json_form_is_read_again(retry: Retry) -> None:
    assert Retry.of_json(json.loads(json.dumps(retry.as_json()))) == retry


@pytest.mark.parametrize(
    ("told", "delays"),
    [
        (None, [None]),
        (2, [10, 20, None]),
        ({"max": 3, "delay": 1, "backoff": "exponential", "cap": 3}, [1, 2, 3, None]),
        ({"max": 2, "delay": 0, "backoff": "constant"}, [0, 0, None]),
        ({"max": 2, "delay": None, "backoff": None, "cap": None, "jitter": None}, [10, 20, None]),
        ({"max": 2, "delay": 5, "backoff": "unknown, in an old journal"}, [5, 5, None]),
    ],
)
def test_what_a_journal_says_of_retries_gives_the_delay_after_each_failure(
    told: object, delays: list[float | None]
) -> None:
    retry = Retry.of_json(told)
    assert [retry.after_death(failures) for failures in range(1, len(delays) + 1)] == delays


def test_final_errors_are_never_retried() -> None:
    for retries in (Retry(5, never=()), RetryFunction(lambda attempt, error: 1)):
        assert retries.after(1, FinalError("no")) is None
        assert retries.after(1, TypeError("again")) is not None


def test_a_function_decides_by_attempt_and_error() -> None:
    retries = retries_of(lambda attempt, error: f"{attempt} minutes" if isinstance(error, OSError) else None)
    assert [retries.after(n, OSError()) for n in (1, 3)] == [60, 180]
    assert retries.after(1, ValueError()) is None
    assert retries.after(1000, OSError()) is None
    assert retries.after_death(1) == 10


@pytest.mark.parametrize("delay", ["soon", -1, True, float("nan")])
def test_a_function_that_gives_no_delay_is_told_so(delay: object) -> None:
    with pytest.raises(RetryRefused, match="the delay that retries= gave has value"):
        RetryFunction(lambda attempt, error: delay).after(1, OSError())  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("value", "said"), [(print, "for step.do only"), (Retry(never=()), "Leave it out")])
def test_commands_take_no_function_and_no_exceptions(value: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        retry_of(value)


@pytest.mark.parametrize("never", ["ValueError", ("ValueError",), 5, None, (ValueError, 5), int, {"ValueError": 1}])
def test_what_is_never_tried_again_are_exceptions(never: object) -> None:
    with pytest.raises(TypeError, match="never has value"):
        Retry(never=never)  # type: ignore[arg-type]


@pytest.mark.parametrize("never", [KeyError, [KeyError], {KeyError}, (KeyError,)])
def test_one_exception_or_several_are_never_tried_again(never: object) -> None:
    retry = Retry(never=never)  # type: ignore[arg-type]
    assert retry.after(1, KeyError("a")) is None and retry.after(1, ValueError("a")) == 10
