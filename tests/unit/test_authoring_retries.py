import pytest

from stepwell import Retry
from stepwell.authoring.retries import FUNCTION_DEFAULT, retry_of


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
