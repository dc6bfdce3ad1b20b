"""What is kept of runs that are over."""

from stepwell.ci.remembered import Remembered


def test_what_was_asked_for_last_is_kept_and_read_once() -> None:
    read: list[str] = []

    def ask(run: str) -> str:
        return known.of(run, lambda: read.append(run) or f"of {run}")  # type: ignore[func-returns-value]

    known: Remembered[str] = Remembered(2)
    assert [ask(run) for run in ("a", "b", "a", "c", "a", "b")] == ["of a", "of b", "of a", "of c", "of a", "of b"]
    assert read == ["a", "b", "c", "b"]
