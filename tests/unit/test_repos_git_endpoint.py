import zlib
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from stepwell.errors import Bug, Conflict, Denied, Invalid, NotFound, StepwellError, TryLater
from stepwell_web.git import Unauthorized, credentials, inflated, refusal


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def test_password_may_hold_colons() -> None:
    assert credentials(basic("me:to:ken")) == ("me", "to:ken")
    assert credentials(None) == (None, None)


@pytest.mark.parametrize("header", ["Bearer x", "Basic ???", "Basic", basic("no colon"), "Basic /w=="])
def test_garbled_credentials_are_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        credentials(header)


async def test_inflated_pieces_are_bounded() -> None:
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(b"\0" * 10_000_000) + packer.flush()
    sizes = [len(piece) async for piece in inflated(pieces(data[:100], data[100:]))]
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= 65_536


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unauthorized("x"), 401),
        (NotFound("x"), 404),
        (Denied("x"), 403),
        (Invalid("x"), 400),
        (Conflict("x"), 409),
        (TryLater("x", 2.5), 503),
        (Bug("secret detail"), 500),
    ],
)
def test_every_error_has_its_status(error: StepwellError, status: int) -> None:
    answer = refusal(error)
    assert answer.status_code == status
    assert answer.media_type == "text/plain"
    assert b"secret" not in bytes(answer.body)
