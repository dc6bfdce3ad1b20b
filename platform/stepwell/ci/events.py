"""The bounds of an event: it is journaled with every run, so what pushers choose must not make it large."""

from stepwell.repos.objects import Changes, CommitInfo

LONGEST_MESSAGE = 10_000
"""Characters of a commit's message."""
LARGEST_CHANGES = 400_000
"""Characters of all changed paths together."""


def message_of(commit: CommitInfo) -> str:
    """Return the commit's message, cut where it is very long."""
    return commit.message[:LONGEST_MESSAGE]


def paths_of(changes: Changes) -> list[str] | None:
    """Return the changed paths; None when there are too many to list, so that nobody takes a part for all."""
    if not changes.complete or sum(map(len, changes.paths)) > LARGEST_CHANGES:
        return None
    return list(changes.paths)
