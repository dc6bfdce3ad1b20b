"""Artifacts on this machine: names are a stranger's, and one that is odd does not keep the others away."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from stepwell.cli.artifacts import _download
from stepwell.cli.client import Client
from stepwell.errors import Invalid, NotFound


class Server:
    """Gives each file its own path as content, without the one that retention has removed."""

    def stream(self, address: str, *, step: str, path: str) -> Iterator[bytes]:
        if path == "gone":
            raise NotFound("It was removed.")
        yield path.encode()


def kept(*paths: str) -> list[dict[str, Any]]:
    return [{"key": "build#1", "path": path, "id": hashlib.sha256(path.encode()).hexdigest()} for path in paths]


def test_odd_names_are_saved_inside_and_the_rest_is_named_at_the_end(tmp_path: Path) -> None:
    odd = kept("../out", "gone", "a\\udcff", "new\nline", "a_udcff", "x" * 300, "last", "/etc/x")
    with pytest.raises(Invalid, match="5 of 8 artifacts were not saved") as refusal:
        _download(cast(Client, Server()), "run", odd, tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").rglob("*")) == ["a_udcff", "last", "new\nline"]
    assert [path.name for path in tmp_path.iterdir()] == ["to"]
    assert [line.split(": ")[1][:25] for line in str(refusal.value).splitlines()[1:]] == [
        "Its name could lead elsew", "Its name could lead elsew", "Another is saved as 'a_ud", "It was removed.",
        "File name too long",
    ]  # fmt: skip
    assert (tmp_path / "to" / "a_udcff").read_bytes() == b"a\\udcff"


def test_what_can_all_be_saved_is(tmp_path: Path) -> None:
    _download(cast(Client, Server()), "run", kept("dist/a", "dist/b/c"), tmp_path)
    assert (tmp_path / "dist/b/c").read_text() == "dist/b/c"
