"""Following a run prints each line once, whatever order news come in."""

import io
from typing import Any

from rich.console import Console

from stepwell.cli.follow import Follower, ending


class Told:
    """A run that is told view by view; logs are whatever they are by then."""

    def __init__(self, *views: dict[str, Any]) -> None:
        self.views = list(views)
        self.logs: dict[tuple[str, int], bytes] = {}

    def view(self) -> dict[str, Any]:
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]

    def log(self, key: str, offset: int, attempt: int | None = None) -> bytes:
        return self.logs.get((key, attempt or 1), b"")[offset : offset + 10]


def step(name: str = "test", state: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "key": f"{name}#1", "name": name, "kind": "run", "state": state, "attempt": 1, "command": "make", "reason": "",
        "asked_at": 0.0, "started_at": 1.0, "ended_at": None, "error": None,
    } | more  # fmt: skip


def run(state: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state": state, "steps": list(steps), "approvals": [], **more}


def follower(source: Told, only: str | None = None) -> tuple[Follower, io.StringIO]:
    text = io.StringIO()
    return Follower(source, Console(file=text, width=200, color_system=None), only), text


def lines(text: io.StringIO) -> list[str]:
    return [line.partition(" │ ")[2].rstrip() for line in text.getvalue().splitlines()]


def test_each_line_is_printed_once_and_a_half_line_when_it_is_whole() -> None:
    source = Told(run("running", step()))
    watching, text = follower(source)
    source.logs["test#1", 1] = b"one\ntw"
    watching.look()
    source.logs["test#1", 1] = b"one\ntwo\nthree"
    watching.look()
    source.views = [run("passed", step(state="passed", ended_at=3.5))]
    watching.look()
    watching.look()
    assert lines(text) == ["$ make", "one", "two", "three", "✓ passed in 2.5 s"]


def test_a_promotion_says_what_it_moved() -> None:
    done = step(
        "stable", "passed", kind="binding", ended_at=1.5, reason="moved refs/heads/stable from abc1234 to def5678"
    )
    watching, text = follower(Told(run("passed", done)))
    watching.look()
    assert lines(text) == ["✓ passed in 500 ms: moved refs/heads/stable from abc1234 to def5678"]


def test_attempts_follow_each_other() -> None:
    source = Told(run("running", step(state="retrying", reason="next try soon")))
    source.logs = {("test#1", 1): b"first"}
    watching, text = follower(source)
    watching.look()
    source.views = [run("running", step(attempt=2))]
    source.logs["test#1", 2] = b"second\n"
    watching.look()
    source.views = [run("failed", step(state="failed", attempt=2, ended_at=2.0, error={"message": "exit code 1"}))]
    watching.look()
    assert lines(text) == ["$ make", "first", "↻ retrying: next try soon", "second", "✗ failed in 1.0 s: exit code 1"]


def test_short_attempts_are_told_each_even_when_their_run_was_not_seen() -> None:
    source = Told(run("running", step(state="retrying", reason="attempt 1 failed")))
    watching, text = follower(source)
    watching.look()
    source.views = [run("running", step(state="retrying", attempt=2, reason="attempt 2 failed"))]
    watching.look()
    watching.look()
    assert lines(text) == ["$ make", "↻ retrying: attempt 1 failed", "↻ retrying: attempt 2 failed"]


def test_what_the_code_printed_itself_is_shown_once() -> None:
    source = Told(run("running", step()))
    source.logs["", 1] = b"starting\nha"
    watching, text = follower(source)
    watching.look()
    source.logs["", 1] = b"starting\nhalf"
    source.views = [run("passed", step(state="passed", ended_at=2.0))]
    watching.look()
    assert lines(text) == ["starting", "$ make", "✓ passed in 1.0 s", "half"]
    assert "Output of the run" in text.getvalue()


def test_only_the_named_step_is_shown() -> None:
    source = Told(run("passed", step("a", "passed", ended_at=1.1), step("b", "passed", ended_at=1.2)))
    watching, text = follower(source, "b")
    watching.look()
    assert lines(text) == ["$ make", "✓ passed in 200 ms"]


def test_escapes_of_the_command_cannot_reach_the_terminal() -> None:
    source = Told(run("running", step()))
    source.logs["test#1", 1] = b"\x1b]0;title\x07\x1b[2Jshown\x1b[31mred\n10%\r100%\n\x1eours\n"
    watching, text = follower(source)
    watching.look()
    assert "\x1b" not in text.getvalue() and "\x07" not in text.getvalue()
    assert lines(text)[-2:] == ["100%", "ours"]


def test_until_ends_with_the_run_or_with_what_is_enough() -> None:
    source = Told(run("running"), run("waiting", approvals=[{"name": "Ship?"}]), run("passed"))
    watching, _ = follower(source)
    assert watching.until(lambda view: bool(view["approvals"]), pause=0)["state"] == "waiting"
    assert watching.until(lambda view: False, pause=0)["state"] == "passed"


def test_an_earlier_round_is_printed_with_every_attempt_and_its_own_words() -> None:
    source = Told(run("waiting"))
    source.logs = {("test#1", 1): b"no", ("test#1", 2): b"yes\n", ("@3", 1): b"third time"}
    watching, text = follower(source)
    steps = [
        {"key": "test#1", "name": "test", "state": "passed", "attempt": 2, "seconds": 1.5},
        {"key": "nap#1", "name": "nap", "state": "cancelled", "attempt": 0, "seconds": None},
    ]
    watching.earlier({"number": 3, "steps": steps})
    assert lines(text) == ["no", "yes", "✓ passed in 1.5 s", "– cancelled", "third time"]


def test_the_end_of_a_run_says_why_and_how_to_go_on() -> None:
    ended = {"number": 8, "tenant": "acme", "repository": "api", "reason": "build#1 asks otherwise", "ways_on": []}
    ways = [
        {"run": {"number": 8}, "from_step": "build#1", "words": "Restart from build#1"},
        {"run": {"number": 5}, "from_step": "Ship it?#1", "words": "Go on with the old code of #5"},
    ]
    assert ending({**ended, "state": "diverged", "ways_on": ways}) == [
        "Run #8 is diverged: build#1 asks otherwise",
        "Restart from build#1: stepwell restart 'acme/api#8' --from 'build#1'",
        "Go on with the old code of #5: stepwell restart 'acme/api#5' --from 'Ship it?#1'",
    ]
    assert ending({**ended, "state": "cancelled", "reason": "terminated by ann"}) == [
        "Run #8 is cancelled: terminated by ann"
    ]
    for state in ("passed", "waiting", "running"):
        assert ending({**ended, "state": state}) == []


def test_text_of_a_log_or_a_step_reorders_nothing() -> None:
    source = Told(run("failed", step("de\u202ep", "failed", ended_at=2.0, error={"message": "no\u2066 \x1b[2J"})))
    watching, text = follower(source)
    source.logs["de\u202ep#1", 1] = "\x1b[31mif \u2066a\u2069:\x1b[0m ok\n".encode()
    watching.look()
    assert lines(text)[1:] == [r"if \u2066a\u2069: ok", r"✗ failed in 1.0 s: no\u2066 \x1b[2J"]
    assert r"de\u202ep" in text.getvalue() and "\u202e" not in text.getvalue()
