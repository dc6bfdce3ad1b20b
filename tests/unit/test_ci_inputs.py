"""Forms are filled as they are declared."""

from typing import Any

import pytest

from stepwell.ci.inputs import checked
from stepwell.errors import Invalid

FORM: dict[str, Any] = {"target": ["staging", "production"], "note": "", "times": 3, "ratio": 0.5, "dry": False}


def test_what_is_not_given_takes_its_default() -> None:
    assert checked(FORM, {}, "input") == {"target": "staging", "note": "", "times": 3, "ratio": 0.5, "dry": False}


def test_texts_of_a_form_become_the_declared_types() -> None:
    given = {"target": "production", "note": "x", "times": "4", "ratio": "1.5", "dry": "true"}
    expected = {"target": "production", "note": "x", "times": 4, "ratio": 1.5, "dry": True}
    assert checked(FORM, given, "input") == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "moon"}, "Choose one of: staging, production"),
        ({"times": "many"}, "'times' has value 'many'. Use a number like 3"),
        ({"times": True}, "Use a number"),
        ({"dry": "perhaps"}, "Use true or false"),
        ({"note": 5}, "no text"),
        ({"note": "x" * 10_001}, "no text of up to 10,000"),
        ({"other": 1}, "no input 'other'. Known are: target, note, times, ratio, dry"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked(FORM, given, "input")
    assert said in str(refusal.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "1e400", "9" * 5000])
@pytest.mark.parametrize("default", [3, 1.5])
def test_a_number_without_an_end_is_refused(value: object, default: float) -> None:
    with pytest.raises(Invalid, match=r"input 'n' has value '.{0,80}'\. Use a number like"):
        checked({"n": default}, {"n": value}, "input")
