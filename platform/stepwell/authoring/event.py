"""What started the run, as the author sees it."""

import re
from collections.abc import Mapping
from typing import Any


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


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Translate a path glob: `*` and `?` stay inside one folder, `**` crosses folders, `[ab]` is a set."""
    if not isinstance(glob, str) or not glob:
        raise ValueError(f'glob has value {glob!r}. Write something like "src/**".')
    out, position = "", 0
    while position < len(glob):
        if glob.startswith("**/", position):
            out, position = out + "(?:[^/]+/)*", position + 3
        elif glob.startswith("**", position):
            out, position = out + ".*", position + 2
        elif glob[position] == "[" and "]" in glob[position + 2 :]:
            end = glob.index("]", position + 2)
            inner = glob[position + 1 : end].replace("\\", "\\\\")
            out, position = out + "[" + ("^" + inner[1:] if inner[0] == "!" else inner) + "]", end + 1
        else:
            out, position = out + _ONE.get(glob[position], re.escape(glob[position])), position + 1
    return re.compile(out, re.DOTALL)


_ONE = {"*": "[^/]*", "?": "[^/]"}
