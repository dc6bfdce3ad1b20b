"""Lines of ours in git's answer to a push: in front of the report of a failure, wherever the pieces are cut."""

import pytest

from stepwell.repos.explained import Explained, explain
from stepwell.repos.pktline import FLUSH, encode

ID = "1a" * 20
WORDS = encode(b"\2" + f"error: object {ID}: hasDotgit: contains '.git'\n".encode())
REPORT = encode(b"\1" + encode(b"unpack index-pack abnormal exit\n") + FLUSH)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_line_stands_before_the_report_however_the_answer_is_cut(size: int) -> None:
    answer = WORDS + REPORT + FLUSH
    explained = Explained("much")
    pieces = [explained.feed(answer[at : at + size]) for at in range(0, len(answer), size)]
    shown = b"".join([*pieces, explained.rest()])
    before, _, after = shown.partition(REPORT)
    assert after == FLUSH and before.startswith(WORDS)
    assert before.count(b"\2stepwell: ") == 3 and f"directory {ID[:10]} has an entry".encode() in before


@pytest.mark.parametrize(
    "answer",
    [
        encode(b"\2counting\n") + encode(b"\1" + encode(b"unpack ok\n") + FLUSH) + FLUSH,
        encode(b"unpack ok\n") + encode(b"ok refs/heads/main\n") + FLUSH,
        b"no packets at all", FLUSH, b"", b"00", encode(b"\2cut short")[:-3],
    ],
)  # fmt: skip
def test_every_other_answer_passes_as_it_is(answer: bytes) -> None:
    explained = Explained("much")
    shown = b"".join(explained.feed(answer[at : at + 5]) for at in range(0, len(answer), 5))
    assert shown + explained.rest() == answer


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"fatal: Out of memory, malloc failed (tried to allocate 9 bytes)", "needs more memory than git is given"),
        (b"fatal: pack exceeds maximum allowed size (1 MiB)", "push in smaller parts"),
        (b"object " + ID.encode() + b": gitmodulesUrl: disallowed submodule url: -x", "git's own settings"),
        (b"object " + ID.encode() + b": missingEmail: invalid author", "is not as git writes one"),
        (b"", "git was ended while it took this push in; it is given much"),
    ],
)
def test_each_refusal_says_what_to_do(said: bytes, words: str) -> None:
    assert words in " ".join(explain(said, b"unpack index-pack abnormal exit", "much"))


def test_what_all_pushes_may_take_together_is_said_where_one_was_ended() -> None:
    (line,) = explain(b"", b"unpack index-pack abnormal exit", "much", ", and together with others more")
    assert "it is given much, and together with others more. Push in smaller parts, or again in a minute." in line
