"""Which runs are meant: by tenant, scope, state, metadata and age. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow


@dataclass(frozen=True)
class Selection:
    """Runs that fit everything that is said here; what is left out does not narrow. Times: seconds since the epoch."""

    tenant: str = ""
    scope: str = ""
    states: frozenset[str] = frozenset()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_after: float | None = None
    created_until: float | None = None  # this moment included

    @property
    def narrow(self) -> bool:
        """Say whether it names whose runs, which, or how old: states alone are those of everybody."""
        ages = (self.created_after, self.created_until)
        return bool(self.tenant or self.scope or self.metadata) or ages != (None, None)

    @property
    def fingerprint(self) -> str:
        """Tell it from every other."""
        said = [self.tenant, self.scope, sorted(self.states), dict(self.metadata)]
        ages = [self.created_after, self.created_until]
        return hashlib.sha256(json.dumps([said, ages], sort_keys=True).encode()).hexdigest()[:16]

    def fits(self, row: "RunRow") -> bool:
        """Say whether a run is meant, as its row tells it."""
        if self.tenant and row.tenant != self.tenant:
            return False
        if self.scope and row.scope != self.scope:
            return False
        if self.states and row.state not in self.states:
            return False
        if self.created_after is not None and row.created_at <= self.created_after:
            return False
        if self.created_until is not None and row.created_at > self.created_until:
            return False
        return all(name in row.metadata and row.metadata[name] == value for name, value in self.metadata.items())
