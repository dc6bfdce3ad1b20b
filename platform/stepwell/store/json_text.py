"""JSON as kept in text columns and sent to isolates: in ASCII, whatever a string holds, and without spaces."""

import json
from collections.abc import Callable
from typing import Any


def _refuse(value: object) -> Any:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _make() -> Callable[[object], str]:
    """Make once what JSONEncoder.encode makes at each call, which takes longer than to encode an entry.

    It does not look for values that contain themselves; to those it is a RecursionError.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
    pieces = make(None, _refuse, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    return lambda value: "".join(pieces(value, 0))


encode = _make()
