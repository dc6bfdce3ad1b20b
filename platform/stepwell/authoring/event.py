"""What started the run, as the author sees it."""

from collections.abc import Mapping
from typing import Any, NoReturn, Self

from stepwell.authoring.globs import written_glob

FIELDS = ("kind", "sha", "before", "branch", "tag", "actor", "message", "inputs", "payload")
"""What an event says of itself; `number` is the run's, and what changed follows from the commits."""
KNOWN = (*FIELDS, "changed", "number")
"""All that an event is made of."""


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
        patterns = [written_glob(glob) for glob in globs]
        return any(pattern.fullmatch(path) for path in self._changed for pattern in patterns)

    def replace(self, **fields: Any) -> Self:
        """Give a like event with other fields, for step.call: `event.replace(inputs={"target": "eu"})`."""
        wrong = next((name for name in fields if name not in FIELDS), None)
        if wrong is not None:
            raise TypeError(f"An event has no field {wrong!r} to replace. Known are: {', '.join(FIELDS)}.")
        return type(self)({**self.as_params(), **fields})

    def as_params(self) -> dict[str, Any]:
        """Give the fields as data, without the run's number."""
        return {**{name: getattr(self, name) for name in FIELDS}, "changed": self._changed}

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"event has no {name!r}. It has: {', '.join(KNOWN)}. What the run was given as payload is event.payload."
        )

    def __repr__(self) -> str:
        return f"Event(kind={self.kind!r}, sha={self.sha!r}, branch={self.branch!r}, tag={self.tag!r})"
