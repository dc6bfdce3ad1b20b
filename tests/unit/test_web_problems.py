"""What programs are told about a request that makes no sense."""

from fastapi.exceptions import RequestValidationError

from stepwell_web.problems import failure_of


def test_body_that_is_no_json_object_is_told_what_to_send() -> None:
    told = failure_of(RequestValidationError([{"type": "model_attributes_type", "loc": ("body",), "msg": "Input …"}]))
    assert (told.status, "Send a JSON object" in told.detail) == (422, True)


def test_address_with_a_value_of_another_kind_is_no_place() -> None:
    wrong = {"type": "int_parsing", "loc": ("path", "number"), "msg": "Input …", "input": "abc"}
    told = failure_of(RequestValidationError([wrong]))
    assert (told.status, told.kind) == (404, "notfound")
    assert told.detail == "There is nothing at this address: its number cannot be 'abc'."


def test_wrong_field_is_named() -> None:
    told = failure_of(RequestValidationError([{"type": "missing", "loc": ("body", "type"), "msg": "Field required"}]))
    assert told.detail == "type: Field required"
