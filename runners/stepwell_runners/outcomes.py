"""Outcomes of attempts that did not pass: what is said to the author, and whether trying again can help."""

import errno
import logging
import traceback

from stepwell.engine.seams import Outcome
from stepwell.errors import Bug, StepwellError, TryLater
from stepwell_runners.spec import Excess, Exit, Limits
from stepwell_runners.streaming import Stuck

log = logging.getLogger(__name__)

DISK_FULL = "The disk that holds the workspace is full. Free some space there, or write less."


_EXCESSES: dict[Excess, tuple[str, str]] = {
    "memory": ("OutOfMemory", 'Raise the limit with memory="4 GB", or use less.'),
    "processes": ("TooManyProcesses", "Raise the limit with processes=2000, or start fewer at a time."),
    "file": ("FileTooLarge", f"No file may be larger than {Limits.file_size >> 30} GiB: write several."),
    "tmp": ("DiskFull", f"Its /tmp is full, which holds {Limits.tmp >> 20} MiB: write into the workspace instead."),
    "output": ("TooMuchOutput", "Print less, or into a file. The operator sets the limit: STEPWELL_STEP_OUTPUT_MB."),
    "disk": ("TooMuchDisk", "Write less, or remove files earlier. The operator sets the limit: STEPWELL_STEP_DISK_GB."),
    "tenant disk": (
        "TooMuchDisk",
        "Write less, or run fewer steps at a time. The operator sets the limit: STEPWELL_TENANT_DISK_GB.",
    ),
}
"""The type of an error and how to raise its limit."""
_LATE = "Give it longer with timeout=."


class SetupFailed(StepwellError):
    """The command of `setup=` failed; nothing of it is kept."""


class EngineFull(StepwellError):
    """The container engine has no space left."""


class BuildFailed(StepwellError):
    """An image could not be built."""


class ServiceFailed(StepwellError):
    """A service ended, or was not ready in time: the step did not begin."""


def of_exit(exit_: Exit, timeout: float | None, full: bool) -> Outcome:
    """Return the outcome of a command that failed; `timeout` is set when it was killed for it."""
    if timeout is not None:
        return _failed("Timeout", f"It did not end within {duration(timeout)}, and was killed. {_LATE}", exit_)
    if exit_.exceeded is not None:
        kind, remedy = _EXCESSES[exit_.exceeded]
        return _failed(kind, f"{exit_.reason}. {remedy}", exit_)
    if exit_.lost:
        return Outcome(False, error=_error("Lost", exit_.reason), seconds=exit_.seconds, lost=True)
    if full:
        return _failed("DiskFull", f"{exit_.reason}. {DISK_FULL}", exit_)
    return _failed("CommandFailed", exit_.reason, exit_)


def of_error(error: Exception) -> Outcome:
    """Return the outcome of an attempt that could not be made, or whose files could not be kept."""
    if isinstance(error, TryLater):
        return Outcome(False, error=_error("Lost", str(error)), lost=True)
    if isinstance(error, StepwellError) and not isinstance(error, Bug):
        again = isinstance(
            error, (SetupFailed, ServiceFailed, BuildFailed, EngineFull)
        )  # a download may work the next time; a refusal stays one
        return Outcome(False, error=_error(type(error).__name__, str(error)), final=not again)
    if isinstance(error, OSError) and is_full(error):
        return Outcome(False, error=_error("DiskFull", DISK_FULL))
    if isinstance(error, Stuck):
        message = "It was killed but does not end: a process hangs in the kernel. Its files are not kept."
        return Outcome(False, error=_error("Stuck", message), final=True)
    return _bug(error)


def is_full(error: OSError) -> bool:
    """Say whether it means that a disk of this host, or what is granted of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _bug(error: Exception) -> Outcome:
    log.error("An attempt failed in the runner", exc_info=error)
    trace = "".join(traceback.format_exception(error))
    message = f"The runner failed ({type(error).__name__}: {error}). This is a bug of Stepwell: please report it."
    return Outcome(False, error={"type": "Bug", "message": message, "traceback": trace})


def duration(seconds: float) -> str:
    """Say a duration as a person would."""
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _failed(kind: str, message: str, exit_: Exit) -> Outcome:
    return Outcome(False, error=_error(kind, message), exit_code=exit_.code, seconds=exit_.seconds)


def _error(kind: str, message: str) -> dict[str, str]:
    return {"type": kind, "message": message, "traceback": ""}
