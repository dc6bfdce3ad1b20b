"""What a plan may be given: the secrets and environments that the token names with which it was sent.

The names stand in the run's metadata, as scopes (see tenants/lending.py), beside the repository whose files it has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.errors import Denied
from stepwell.tenants import lending
from stepwell.tenants.actors import Actor

SCOPES = "lent"
"""Where the metadata of a plan's run have them."""


@dataclass(frozen=True)
class Lent:
    """What one plan was lent. `repository` is the id of the one whose files it has, `name` its name; "" for none."""

    scopes: frozenset[str]
    repository: str = ""
    name: str = ""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Lent":
        """Read it from a run's metadata."""
        name = str(metadata.get("workspace") or "").partition("/")[2]
        return cls(frozenset(metadata.get(SCOPES) or ()), str(metadata.get("files_of") or ""), name)

    def has(self, environment: str) -> bool:
        """Say whether an environment was lent."""
        return bool(self.name) and lending.environment(environment, self.name) in self.scopes

    def places(self, name: str, environment: str) -> list[tuple[str, str]]:
        """Return where a secret may be taken from, as (repository's id, environment), the nearest first."""
        found = []
        if environment and self.has(environment):
            found.append((self.repository, environment))
        if self.name and lending.secret(name, self.name) in self.scopes:
            found.append((self.repository, ""))
        if lending.secret(name) in self.scopes:
            found.append(("", ""))
        return found

    def require(self, step: str, environment: str, secrets: Iterable[str]) -> None:
        """Raise Denied when a step names what was not lent."""
        wanted = [lending.secret(name) for name in sorted(secrets) if not self.places(name, environment)]
        if environment and not self.has(environment):
            wanted.insert(0, lending.environment(environment, self.name or "REPOSITORY"))
        if wanted:
            raise Denied(
                f"Step {step!r} is refused. A plan is given only the secrets and environments that its token names, "
                f"since nobody has pushed its code. This one was sent without the scope {wanted[0]}: commit it to a "
                "repository as .stepwell/pipeline.py, or send it with a token that has the scope."
            )


def lent_again(metadata: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
    """Return what a repetition of a plan changes in its metadata: who repeats it must lend the same."""
    scopes = metadata.get(SCOPES)
    return {SCOPES: sorted(actor.lends.intersection(scopes))} if scopes else {}
