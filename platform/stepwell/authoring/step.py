"""The calls of `step`: each registers a durable step when it is called and returns what can be awaited."""

import datetime
import uuid
from collections.abc import Awaitable, Callable, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from stepwell.authoring.calling import call_options, continue_options
from stepwell.authoring.durations import Duration, seconds_of
from stepwell.authoring.event import Event
from stepwell.authoring.inline import Work
from stepwell.authoring.options import approval_options, image_options, run_options, timeout_option
from stepwell.authoring.results import Approval, Result, canonical, decode
from stepwell.authoring.retries import FUNCTION_DEFAULT, Decide, Retries, Retry, retries_of
from stepwell.authoring.undo import Undo

if TYPE_CHECKING:
    from stepwell.authoring.pipeline import Pipeline
    from stepwell.authoring.turn import Turn

NAME_LENGTH = 200
_others = SystemRandom()
"""Draws for functions: their results are kept, so nothing has to be drawn again."""


class Step:
    """What `run(self, event, step)` receives. Names repeat freely: the n-th use of a name is a step of its own."""

    def __init__(self, turn: "Turn", run: str, defaults: dict[str, Any], params: str) -> None:
        self._turn = turn
        self._params = params
        self._defaults = defaults
        self._random = Random(run)  # noqa: S311 - the same on every replay is the point

    def do(
        self, name: str, function: Callable[..., Any], *args: Any, retries: int | Retry | Decide | None = None,
        timeout: Duration | None = None, undo: Callable[[Any], Any] | Undo | None = None, **unknown: Any,
    ) -> Awaitable[Any]:  # fmt: skip
        """Run a function durably beside run(): async on a loop, sync in a thread. Its result must be JSON, ≤ 1 MiB.

        When the run fails, `undo` is called with the result of the step, in a step of its own named "undo NAME".
        """
        if unknown:
            _refuse_unknown("step.do", unknown, "retries, timeout, undo; give arguments of the function by position")
        if not callable(function):
            raise TypeError(f"step.do({name!r}, …) was given {function!r}. Give it a function, not a result.")
        called = getattr(function, "__qualname__", None) or type(function).__qualname__
        fingerprint = fingerprint_of("do", called + canonical(args) if args else called)
        turn = self._turn
        if type(name) is not str or name not in turn.uses:
            _name(name)
        if retries is None and timeout is None and undo is None:
            work = Work(function, args, FUNCTION_DEFAULT, None)
        else:
            undoing = None if undo is None else _undoing(name, undo, turn.rules)
            work = Work(function, args, *_limits(retries, timeout, turn.rules), undoing)
        return turn.ask("do", name, fingerprint, work=work)

    def run(self, name: str, command: str | Sequence[str], **options: Any) -> Awaitable[Result]:
        """Run a shell command (text) or a program (list) in an isolate with the workspace, or in `image=`."""
        checked = run_options(command, options, self._defaults)
        return self._turn.ask("run", _name(name), fingerprint_of("run", canonical(checked)), checked)

    def image(self, name: str, **options: Any) -> Awaitable[str]:
        """Build a container image of the workspace and return its id, for `image=` of later steps of the repository."""
        checked = image_options(options)
        return self._turn.ask("image", _name(name), fingerprint_of("image", canonical(checked)), checked)

    def read(self, path: str) -> Awaitable[str]:
        """Read a text file of the workspace as it is now."""
        if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f'step.read has path {path!r}. Write a path inside the workspace, like "VERSION".')
        return self._turn.ask("read", f"read {path}"[:NAME_LENGTH], fingerprint_of("read", path), {"path": path})

    def call(self, name: str, pipeline: "type[Pipeline]", event: Any = None) -> Awaitable[Any]:
        """Run another pipeline of this code as a run of its own and return what its run() returned.

        `event` is an Event, like `event` itself or `event.replace(…)`, or the payload of one. When the run does not
        pass, StepFailed names it. It is cancelled when this run ends or gives the step up.
        """
        options = call_options(_name(name), pipeline, event, Event(decode(self._params)))
        return self._turn.ask("call", name, fingerprint_of("call", canonical(options)), options)

    def promote(self, name: str, ref: str, *, made_by: str | Sequence[str] = ()) -> Awaitable[dict[str, Any]]:
        """Move a branch forward, or make a tag: "refs/heads/stable", "refs/tags/v1.0".

        To the run's commit; with made_by= to what the steps of these names have made of that branch or tag with git.
        Gives {"ref", "sha", "before", "made_by"}, `before` is "" for a ref that is new.
        Nothing is forced and no runs start; StepFailed says what stands in the way.
        """
        if not isinstance(ref, str) or not ref.startswith(("refs/heads/", "refs/tags/")):
            raise ValueError(f'step.promote has ref {ref!r}. Write it in full, like "refs/heads/stable".')
        steps = [made_by] if isinstance(made_by, str) else list(made_by)
        if not all(isinstance(one, str) and one for one in steps):
            raise ValueError(f"step.promote has made_by {made_by!r}. Write the name of a step, or a list of names.")
        named = {"made_by": steps} if steps else {}
        options = {"binding": "repository", "call": "promote", "args": [ref], "kwargs": named, "workspace": True}
        settings = f"{ref} {canonical(steps)}" if steps else ref
        return self._turn.ask("binding", _name(name), fingerprint_of("promote", settings), options)

    def sleep(self, name: str, duration: Duration) -> Awaitable[None]:
        """Sleep; the run hibernates."""
        seconds = seconds_of(duration, "step.sleep duration")
        return self._sleep(name, seconds, self._turn.loop.now + seconds, {})

    def sleep_until(self, name: str, when: datetime.datetime) -> Awaitable[None]:
        """Sleep until a moment; the run hibernates."""
        if not isinstance(when, datetime.datetime) or when.tzinfo is None:
            raise ValueError(f"step.sleep_until has time {when!r}. Write a datetime with a time zone.")
        due = when.timestamp()
        return self._sleep(name, max(0.0, due - self._turn.loop.now), due, {"until": due})

    def _sleep(self, name: str, seconds: float, due: float, more: dict[str, Any]) -> Awaitable[None]:
        fingerprint = fingerprint_of("sleep", f"{seconds:.3f}")
        return self._turn.ask("sleep", _name(name), fingerprint, {"seconds": seconds, **more}, due=due)

    def wait_for_event(self, name: str, *, type: str, timeout: Duration | None = "24 hours") -> Awaitable[Any]:
        """Wait for an event sent to this run and return its payload, or raise EventTimeout; the run hibernates.

        With `timeout=0` only what has come already is taken; without a limit (None) it may wait for ever.
        """
        if not isinstance(type, str) or not type:
            raise TypeError(f"step.wait_for_event has type {type!r}. Write the event's type as a text.")
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        options = {"type": type, "timeout": seconds}
        due = None if seconds is None else self._turn.loop.now + seconds
        return self._turn.ask("event", _name(name), fingerprint_of("event", canonical(options)), options, due=due)

    def approval(self, name: str, **options: Any) -> Awaitable[Approval]:
        """Wait until people approve, or raise Rejected or ApprovalTimeout; the run hibernates."""
        checked = approval_options(_name(name), options)
        seconds = checked.get("timeout")
        due = None if seconds is None else self._turn.loop.now + seconds
        return self._turn.ask("approval", name, fingerprint_of("approval", canonical(checked)), checked, due=due)

    def continue_as(self, event: Any) -> Awaitable[NoReturn]:
        """End run() here and begin it anew under the same run, with this event and an empty journal; never returns.

        `event` is an Event, like `event.replace(…)`, or the payload of one like this run's.
        """
        options = continue_options(event, Event(decode(self._params)))
        return self._turn.continue_as(options)

    def now(self) -> datetime.datetime:
        """Give the time of the last thing that happened in the run, in UTC; the same on every replay."""
        return datetime.datetime.fromtimestamp(self._turn.loop.now, datetime.UTC)

    def random(self) -> float:
        """Give a number from 0 to 1; the same on every replay."""
        return self._generator().random()

    def uuid(self) -> str:
        """Give a random UUID as text; the same on every replay."""
        return str(uuid.UUID(int=self._generator().getrandbits(128), version=4))

    def _generator(self) -> Random:
        # A function of step.do is not called again by a replay: what it drew would be missing in run()'s own sequence.
        return self._random if self._turn.loop.here else _others

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"step has no call {name!r}. Known are: {', '.join(CALLS)}.")


CALLS = tuple(name for name in vars(Step) if not name.startswith("_"))


def _name(name: object) -> str:
    if isinstance(name, str) and name.strip() and len(name) <= NAME_LENGTH and name.isprintable():
        return name
    raise ValueError(
        f'A step has the name {name!r}. Write a text of 1 to {NAME_LENGTH} printable characters, like "unit tests".'
    )


def _limits(retries: int | Retry | Decide | None, timeout: Duration | None, rules: int) -> tuple[Retries, float | None]:
    retry = FUNCTION_DEFAULT if retries is None else retries_of(retries)
    if timeout is None:
        return retry, None
    return retry, timeout_option("timeout", timeout) if rules >= 3 else seconds_of(timeout, "timeout")


def _undoing(name: str, undo: object, rules: int) -> Work:
    one = undo if isinstance(undo, Undo) else Undo(undo)  # type: ignore[arg-type]  # looked at in the next line
    if not callable(one.function):
        raise TypeError(f"step.do({name!r}, …) has undo={undo!r}. Give it a function of the step's result, or Undo(…).")
    return Work(one.function, (), *_limits(one.retries, one.timeout, rules))


def fingerprint_of(kind: str, settings: str) -> str:
    """Give the short form in which a step's settings are compared on replay."""
    checksum = crc32(f"{kind} {settings}".encode("utf-8", "replace"))
    return "%08x" % checksum  # noqa: UP031 - half the time of a format specification, and a replay does it at each step


def _refuse_unknown(call: str, given: dict[str, Any], known: str) -> None:
    raise TypeError(f"{call} has no option {next(iter(given))!r}. Known are: {known}.")
