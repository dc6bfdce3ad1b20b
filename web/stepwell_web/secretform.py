"""The form that adds a secret, replaces its value, or changes to which runs it is given."""

from collections.abc import Sequence

from starlette.datastructures import FormData

from stepwell.errors import Invalid
from stepwell.tenants.secrets import Refs, SecretView
from stepwell_web.visits import Visit, text, words


def chosen(secrets: Sequence[SecretView], name: str, environment: str) -> SecretView | None:
    """Return the secret that is to be changed."""
    return next((one for one in secrets if (one.name, one.environment) == (name, environment)), None)


def save(visit: Visit, form: FormData, tenant: str, repository: str = "") -> None:
    """Do what the form says; without a value, one that is there keeps its own."""
    secrets = visit.services.tenants.secrets
    name, environment, refs = text(form, "name").strip(), text(form, "environment", ""), _refs(form)
    place = {"repository": repository, "environment": environment}
    if form.get("known") and refs is not None and not form.get("value"):
        secrets.limit(visit.actor, tenant, name, refs, **place)
    else:
        secrets.put(visit.actor, tenant, name, text(form, "value"), refs=refs, **place)


def _refs(form: FormData) -> Refs | None:
    which = form.get("given")
    if which == "these":
        refs = words(text(form, "refs", ""))
        if not refs:
            raise Invalid("No branch or tag was named. Write some, like main, release/* or tags/v*.")
        return refs
    return "protected" if which == "protected" else () if which == "every" else None
