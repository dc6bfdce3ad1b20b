import pytest

from stepwell import Approval, Result
from stepwell.authoring.results import RESULT_BYTES, ResultRefused, canonical, encode_result


def test_results_and_approvals_are_json() -> None:
    assert encode_result([Result(0, 1.0, {"a": "b"}), Approval("ada")], "x") == (
        '[{"exit_code":0,"seconds":1.0,"outputs":{"a":"b"}},{"by":"ada","at":0.0,"comment":"","fields":{}}]'
    )


def test_the_bound_counts_bytes_not_characters() -> None:
    assert len(encode_result("é" * (RESULT_BYTES // 2 - 1), "x")) < RESULT_BYTES
    with pytest.raises(ResultRefused, match="x is 1,048,578 bytes of JSON; at most 1,048,576"):
        encode_result("é" * (RESULT_BYTES // 2), "x")


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ResultRefused, match="contains itself"):
        encode_result(value, "x")


def test_fingerprints_never_contain_an_address() -> None:
    assert canonical((1, object(), {"a": {1}})) == '[1,"<object>",{"a":"<set>"}]'
    assert canonical({(1, 2): 3}) == "<dict>"
