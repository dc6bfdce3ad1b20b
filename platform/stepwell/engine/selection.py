"""Which runs are meant: by tenant, scope, state, metadata and age. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepwell.errors import Invalid

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow


@dataclass(frozen=True)
class Selection:
    """Runs that fit everything that is said here; what is left out does not narrow. Times: seconds since the epoch.

    They come by number within a scope, the oldest first within a tenant (and always when they are `explained`), else in
    the order of their ids.
    """

    tenant: str = ""
    scope: str = ""
    states: frozenset[str] = frozenset()  # any other collection is made one
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_after: float | None = None
    created_until: float | None = None  # this moment included
    explained: bool = False  # something is said of them: why they do not go on, or have failed

    def __post_init__(self) -> None:
        for name in ("tenant", "scope"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")
        for name in ("created_after", "created_until"):
            at = getattr(self, name)
            fits = at is None or (isinstance(at, int | float) and not isinstance(at, bool) and at == at)  # noqa: PLR0124
            _require(fits, name, at, "seconds since the epoch")
        _require(isinstance(self.metadata, Mapping), "metadata", self.metadata, "names and values")
        _require(not isinstance(self.states, str), "states", self.states, "a list or set of them")
        object.__setattr__(self, "states", frozenset(self.states))

    @property
    def narrow(self) -> bool:
        """Say whether it names whose runs, which, or how old: states alone are those of everybody."""
        ages = (self.created_after, self.created_until)
        return bool(self.tenant or self.scope or self.metadata) or ages != (None, None)

    @property
    def by_number(self) -> bool:
        """Say whether they come by number."""
        return bool(self.scope) and not self.explained

    def place_of(self, row: "RunRow") -> tuple[float, str]:
        """Give the place of a run in their order, behind which a look goes on."""
        return (float(row.number) if self.by_number else row.created_at, row.id)

    @property
    def fingerprint(self) -> str:
        """Tell it from every other."""
        said = [self.tenant, self.scope, sorted(self.states), dict(self.metadata), self.explained]
        ages = [self.created_after, self.created_until]
        return hashlib.sha256(json.dumps([said, ages], sort_keys=True).encode()).hexdigest()[:16]

    def fits(self, row: "RunRow") -> bool:
        """Say whether a run is meant, as its row tells it."""
        return (
            self.tenant in ("", row.tenant)
            and self.scope in ("", row.scope)
            and (not self.states or row.state in self.states)
            and (not self.explained or (row.reason is not None and row.state not in {"passed", "cancelled"}))
            and (self.created_after is None or row.created_at > self.created_after)
            and (self.created_until is None or row.created_at <= self.created_until)
            and all(name in row.metadata and row.metadata[name] == value for name, value in self.metadata.items())
        )


def _require(fits: bool, name: str, value: object, what: str) -> None:
    if not fits:
        raise Invalid(f"{name} has value {str(value)[:80]!r}. Give {what}.", name)
