"""What is kept of runs that are over."""

from stepwell.ci.remembered import Remembered


def test_what_was_asked_for_last_is_kept_and_read_once() -> None:
    read: list[str] = []

    def ask(run: str) -> str:
        return known.of(run, lambda: read.append(run) or f"of {run}")  # type: ignore[func-returns-value]

    known: Remembered[str] = Remembered(2)
    assert [ask(run) for run in ("a", "b", "a", "c", "a", "b")] == ["of a", "of b", "of a", "of c", "of a", "of b"]
    assert read == ["a", "b", "c", "b"]


def test_together_they_weigh_no_more_than_there_is_room() -> None:
    read: list[str] = []

    def ask(run: str) -> str:
        return known.of(run, lambda: read.append(run) or run)  # type: ignore[func-returns-value]

    known: Remembered[str] = Remembered(10, weigh=len, room=6)
    for run in ("aa", "bb", "cc", "aa", "ddd"):
        ask(run)
    assert read == ["aa", "bb", "cc", "ddd"]
    for run in ("aa", "ddd", "bb", "cc"):  # "aa" was asked for last of those that had to go
        ask(run)
    assert read[4:] == ["bb", "cc"]
    for run in ("too heavy", "too heavy", "cc", "bb"):  # it is read at each look, and takes nobody's place
        ask(run)
    assert read[6:] == ["too heavy", "too heavy"]
