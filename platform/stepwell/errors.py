"""Every error that Stepwell raises on purpose: one class per decision the caller can make.

StepwellError
├── Invalid            what the user gave is wrong: says what, where, and what to write instead
├── NotFound           no such thing, or not visible to who asks (the same answer on purpose)
├── Denied             known, but not allowed
├── Conflict           somebody else was first, or the state has moved on
├── TryLater           works again after `retry_after` seconds
├── Unavailable        a part of this host is missing: says which, and how to provide it
└── Bug                ours: please report
"""


class StepwellError(Exception):
    """A failure with a message fit to show: the fact with the offending value quoted, then the remedy."""


class Invalid(StepwellError):
    """What the user gave is wrong; `field` is the part of it that is, where one alone is."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(StepwellError):
    """No such thing, or not visible to who asks."""


class Denied(StepwellError):
    """Known, but not allowed."""


class Conflict(StepwellError):
    """Somebody else was first, or the state has moved on."""


class TryLater(StepwellError):
    """Works again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(StepwellError):
    """A part of this host is missing."""


class Bug(StepwellError):
    """A state that cannot be: ours to mend."""
