import asyncio

import pytest

from stepwell.repos.hooks import SCRIPTS, _fields, encode_answer
from stepwell.repos.push import NO_COMMIT, RefUpdate


async def parse(data: bytes) -> list[str] | None:
    reader = asyncio.StreamReader(limit=1024)
    reader.feed_data(data)
    reader.feed_eof()
    return await _fields(reader)


async def test_question_is_split_at_nul() -> None:
    assert await parse(b"pre-receive\0/q\x000\0o n r\0\0") == ["pre-receive", "/q", "0", "o n r"]


async def test_empty_fields_before_the_options_end_are_values() -> None:
    assert await parse(b"post-receive\0\x002\0\0x\ny\0o n r\0\0") == ["post-receive", "", "2", "", "x\ny", "o n r"]


@pytest.mark.parametrize("data", [b"", b"pre-receive\0/q", b"pre-receive\0/q\0many\0\0", b"x" * 3000 + b"\0"])
async def test_question_cut_short_or_garbled_is_none(data: bytes) -> None:
    assert await parse(data) is None


def test_answer_cannot_end_early_or_paint_the_terminal() -> None:
    assert encode_answer(False, ["one\n.\ntwo", "\x1b[31mred\r"]) == b"no\n-one\n-.\n-two\n-?[31mred?\n.\n"


def test_long_answer_is_cut_at_a_line() -> None:
    answer = encode_answer(True, ["x" * 99] * 1000)
    assert len(answer) < 40_000
    assert answer.endswith("-…\n.\n".encode())


def test_hooks_of_small_pushes_are_shell_scripts_of_builtins() -> None:
    for script in SCRIPTS.values():
        assert script.startswith("#!/bin/sh\n")
    for phase in ("pre-receive", "post-receive"):
        assert not {"python", "cat", "sed", "awk", "curl"} & set(SCRIPTS[phase].split())


def test_update_knows_what_it_does() -> None:
    made = RefUpdate(NO_COMMIT, "1" * 40, "refs/heads/a/b")
    assert (made.created, made.deleted, made.branch, made.tag) == (True, False, "a/b", None)
    gone = RefUpdate("1" * 40, NO_COMMIT, "refs/tags/v1")
    assert (gone.created, gone.deleted, gone.branch, gone.tag) == (False, True, None, "v1")
