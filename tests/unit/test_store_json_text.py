"""JSON in text columns is what the standard library writes, encoded by an encoder that is made once."""

import json
from typing import Any

import pytest

from stepwell.store import json_text

VALUES = [
    None, True, 0, -1.5, 10**400, float("inf"), "", "ä\ud800\n\"\u2028", [], {}, [[], {"a": [None, False]}],
    {"key": "step#1", "data": {"value": 1, "seconds": 0.001}}, {1: "number", None: "none", False: "no"}, ("a", 1),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_it_is_what_the_standard_library_writes(value: object) -> None:
    assert json_text.encode(value) == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("value", VALUES)
def test_it_is_the_same_where_the_interpreter_has_no_such_encoder(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert json_text._make()(value) == json_text.encode(value)


@pytest.mark.parametrize("value", [object(), {"a": {1}}, b"bytes"])
def test_what_is_not_json_is_refused_and_the_encoder_goes_on(value: object) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        json_text.encode(value)
    assert json_text.encode([1]) == "[1]"


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        json_text.encode(value)
    assert json_text.encode([1]) == "[1]"
