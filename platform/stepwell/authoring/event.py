"""What started the run, as the author sees it."""

from collections.abc import Mapping
from typing import Any

from stepwell.authoring.globs import glob_pattern


class Event:
    """The event of a run; fields that a kind of event does not have are None (`inputs` and `payload`: empty).

    A push has `sha`, `before`, `branch`; a tag `tag`; a manual start `inputs`; `number` is the run's own.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.kind: str = params.get("kind") or "manual"
        self.sha: str | None = params.get("sha")
        self.before: str | None = params.get("before")
        self.branch: str | None = params.get("branch")
        self.tag: str | None = params.get("tag")
        self.actor: str | None = params.get("actor")
        self.message: str | None = params.get("message")
        self.number: int | None = params.get("number")
        self.inputs: Mapping[str, Any] = params.get("inputs") or {}
        self.payload: Any = params.get("payload")
        self._changed: list[str] | None = params.get("changed")

    def changed(self, *globs: str) -> bool:
        """Say whether a changed path matches one of the globs (`**` crosses folders); no globs: anything."""
        if self._changed is None:
            raise ValueError(
                f"event.changed() cannot answer for this {self.kind} event: there is nothing to compare the commit "
                "with. Test event.kind first, or start the run by a push."
            )
        if not globs:
            return bool(self._changed)
        patterns = [glob_pattern(glob) for glob in globs]
        return any(pattern.fullmatch(path) for path in self._changed for pattern in patterns)

    def __repr__(self) -> str:
        return f"Event(kind={self.kind!r}, sha={self.sha!r}, branch={self.branch!r}, tag={self.tag!r})"
