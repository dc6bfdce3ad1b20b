"""Repositories, their secrets and environments."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["repositories"])


class NewRepository(BaseModel):
    """A repository to create."""

    tenant: str = Field(description="the tenant that shall own it")
    name: str = Field(description="letters, digits, '.', '_' or '-'")
    description: str = ""


class RepositorySettings(BaseModel):
    """What is to be changed of a repository; what is not given stays."""

    description: str | None = None
    default_branch: str | None = Field(None, description="a branch that is there")
    protected: list[str] | None = Field(None, description="globs of branches")
    keep_artifacts_days: int | None = Field(
        None, ge=0, description="days after their run's end, at most as long as the server keeps them; 0: just as long"
    )


Refs = Literal["protected"] | list[str]
WHICH = "which refs' runs get it: 'protected', or globs of branches and of tags/; none: every ref"


class NewSecret(BaseModel):
    """A secret to set; its value is readable by nobody afterwards."""

    value: str
    environment: str = Field("", description="only for steps of this environment")
    refs: Refs | None = Field(None, description=f"{WHICH}; not given: as they are; of a new one: protected")


class Limits(BaseModel):
    """To which runs a secret is given."""

    refs: Refs = Field(description=WHICH)
    environment: str = Field("", description="the environment that the secret is of")


class Credentials(BaseModel):
    """Credentials of a registry; the password is readable by nobody afterwards."""

    username: str
    password: str = Field(repr=False)


class Rules(BaseModel):
    """Rules of an environment."""

    reviewers: list[str] = []
    count: int = Field(1, ge=0, le=20)
    branches: list[str] = []
    forbid_author: bool = False
    wait: str | float = Field(0, description="how long steps wait, in seconds or as '30 minutes'")


@router.get("/repos")
def list_repositories(caller: Caller, tenant: str | None = None) -> dict[str, Any]:
    """List the repositories that you may see."""
    return {"items": [answers.repository(r) for r in caller.services.catalog.list(caller.actor, tenant)]}


@router.post("/repos", status_code=201)
def create_repository(caller: Caller, body: NewRepository) -> dict[str, Any]:
    """Create a repository."""
    return answers.repository(caller.services.catalog.create(caller.actor, body.tenant, body.name, body.description))


@router.get("/repos/{tenant}/{name}")
def get_repository(caller: Caller, tenant: str, name: str) -> dict[str, Any]:
    """Get a repository."""
    return answers.repository(caller.services.catalog.get(caller.actor, tenant, name))


@router.patch("/repos/{tenant}/{name}")
def change_repository(caller: Caller, tenant: str, name: str, body: RepositorySettings) -> dict[str, Any]:
    """Change a repository's settings. For maintainers."""
    view = caller.services.catalog.update(
        caller.actor, tenant, name, description=body.description, default_branch=body.default_branch,
        protected=body.protected, keep_artifacts_days=body.keep_artifacts_days,
    )  # fmt: skip
    return answers.repository(view)


@router.delete("/repos/{tenant}/{name}", status_code=204)
def delete_repository(caller: Caller, tenant: str, name: str) -> None:
    """Delete a repository with its runs, for good. For owners; refused while one of its runs has not ended."""
    caller.services.removal.remove(caller.actor, tenant, name)


@router.get("/repos/{tenant}/{name}/pipelines")
def list_pipelines(caller: Caller, tenant: str, name: str, ref: str | None = None) -> dict[str, Any]:
    """List the pipelines declared at a commit, or the problem that keeps them from being read."""
    return answers.plain(caller.services.catalog.pipelines(caller.actor, tenant, name, ref))


@router.get("/repos/{tenant}/{name}/environments")
def list_environments(caller: Caller, tenant: str, name: str) -> dict[str, Any]:
    """List the environments and their rules."""
    return {"items": [answers.plain(e) for e in caller.services.environments.list(caller.actor, tenant, name)]}


@router.put("/repos/{tenant}/{name}/environments/{environment}")
def put_environment(caller: Caller, tenant: str, name: str, environment: str, body: Rules) -> dict[str, Any]:
    """Create an environment or replace its rules."""
    environments = caller.services.environments
    environments.put(
        caller.actor, tenant, name, environment, reviewers=tuple(body.reviewers), count=body.count,
        branches=tuple(body.branches), forbid_author=body.forbid_author, wait=body.wait,
    )  # fmt: skip
    return answers.plain(environments.get(caller.actor, tenant, name, environment))


@router.delete("/repos/{tenant}/{name}/environments/{environment}", status_code=204)
def delete_environment(caller: Caller, tenant: str, name: str, environment: str) -> None:
    """Delete an environment."""
    caller.services.environments.remove(caller.actor, tenant, name, environment)


@router.get("/repos/{tenant}/{name}/secrets")
def list_secrets(caller: Caller, tenant: str, name: str) -> dict[str, Any]:
    """List names of a repository's secrets; never values."""
    caller.services.catalog.get(caller.actor, tenant, name)
    return {"items": [answers.plain(s) for s in caller.services.tenants.secrets.list(caller.actor, tenant, name)]}


@router.put("/repos/{tenant}/{name}/secrets/{secret}", status_code=204)
def put_secret(caller: Caller, tenant: str, name: str, secret: str, body: NewSecret) -> None:
    """Set a secret of a repository."""
    caller.services.tenants.secrets.put(
        caller.actor, tenant, secret, body.value, repository=name, environment=body.environment, refs=_refs(body.refs)
    )


@router.patch("/repos/{tenant}/{name}/secrets/{secret}", status_code=204)
def limit_secret(caller: Caller, tenant: str, name: str, secret: str, body: Limits) -> None:
    """Change to which refs a secret of a repository is given; its value stays."""
    caller.services.tenants.secrets.limit(
        caller.actor, tenant, secret, _refs(body.refs) or (), repository=name, environment=body.environment
    )


def _refs(given: Refs | None) -> Literal["protected"] | tuple[str, ...] | None:
    return given if given is None or given == "protected" else tuple(given)


@router.delete("/repos/{tenant}/{name}/secrets/{secret}", status_code=204)
def delete_secret(caller: Caller, tenant: str, name: str, secret: str, environment: str = "") -> None:
    """Delete a secret of a repository."""
    caller.services.tenants.secrets.remove(caller.actor, tenant, secret, repository=name, environment=environment)


@router.get("/tenants/{tenant}/secrets")
def list_tenant_secrets(caller: Caller, tenant: str) -> dict[str, Any]:
    """List names of a tenant's secrets; never values."""
    return {"items": [answers.plain(s) for s in caller.services.tenants.secrets.list(caller.actor, tenant)]}


@router.put("/tenants/{tenant}/secrets/{secret}", status_code=204)
def put_tenant_secret(caller: Caller, tenant: str, secret: str, body: NewSecret) -> None:
    """Set a secret of a tenant, for all of its repositories."""
    caller.services.tenants.secrets.put(caller.actor, tenant, secret, body.value, refs=_refs(body.refs))


@router.patch("/tenants/{tenant}/secrets/{secret}", status_code=204)
def limit_tenant_secret(caller: Caller, tenant: str, secret: str, body: Limits) -> None:
    """Change to which refs a secret of a tenant is given; its value stays."""
    caller.services.tenants.secrets.limit(caller.actor, tenant, secret, _refs(body.refs) or ())


@router.delete("/tenants/{tenant}/secrets/{secret}", status_code=204)
def delete_tenant_secret(caller: Caller, tenant: str, secret: str) -> None:
    """Delete a secret of a tenant."""
    caller.services.tenants.secrets.remove(caller.actor, tenant, secret)


@router.get("/tenants/{tenant}/registries")
def list_registries(caller: Caller, tenant: str) -> dict[str, Any]:
    """List the registries for which a tenant has credentials; never passwords."""
    return {"items": [answers.plain(one) for one in caller.services.tenants.registries.list(caller.actor, tenant)]}


@router.put("/tenants/{tenant}/registries/{host}", status_code=204)
def put_registry(caller: Caller, tenant: str, host: str, body: Credentials) -> None:
    """Set the credentials with which a tenant's images are pulled from a registry."""
    caller.services.tenants.registries.put(caller.actor, tenant, host, body.username, body.password)


@router.delete("/tenants/{tenant}/registries/{host}", status_code=204)
def delete_registry(caller: Caller, tenant: str, host: str) -> None:
    """Delete the credentials for a registry."""
    caller.services.tenants.registries.remove(caller.actor, tenant, host)
