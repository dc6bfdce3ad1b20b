"""A push as those see it who decide about it and act on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

NO_COMMIT = "0" * 40


@dataclass(frozen=True)
class RefUpdate:
    """One ref that a push moves; `old` or `new` is NO_COMMIT when the ref is created or deleted."""

    old: str
    new: str
    ref: str

    @property
    def created(self) -> bool:
        return self.old == NO_COMMIT

    @property
    def deleted(self) -> bool:
        return self.new == NO_COMMIT

    @property
    def branch(self) -> str | None:
        """Name of the branch, or None when the ref is something else."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

    @property
    def tag(self) -> str | None:
        """Name of the tag, or None when the ref is something else."""
        return self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else None


@dataclass(frozen=True)
class PushContext:
    """Who pushes where. `push` is unique and the same in both calls; `actor` is what the caller's authorisation gave.

    `quarantine` is the directory with the objects of the push while git has not yet accepted them: read them with
    `Repositories.quarantined(repository, quarantine)`. It is None in `post_receive`.
    """

    push: str
    repository: str
    tenant: str
    name: str
    actor: Any
    options: tuple[str, ...] = ()
    quarantine: Path | None = None


class PushHandler(Protocol):
    """Decides about a push and acts on it.

    `pre_receive` is awaited, and has returned, before git moves the first ref; what it wrote durably by then survives
    any crash. Its text refuses the whole push and is shown to the pusher line by line; None lets it go on.
    A StepwellError refuses with its message. git may still refuse single refs afterwards: somebody else was first.
    `post_receive` is called after the refs moved, with those that did move, and not at all when none did, when git
    or this server died between, or when the connection was cut before all objects had arrived. Its lines are shown.
    A push whose objects have all arrived is finished even if the client leaves.
    Pushes run side by side, also to one repository; both methods must not block the event loop and are cancelled after
    60 and 30 seconds: the push is then refused, or stays accepted and says that its runs start shortly.
    """

    async def pre_receive(self, context: PushContext, updates: list[RefUpdate]) -> str | None: ...

    async def post_receive(self, context: PushContext, updates: list[RefUpdate]) -> list[str]: ...
