"""Names of tenants and people: what they may look like, and which words the routes need for themselves."""

import re

from stepwell.errors import Invalid

_WORDS = """
about admin api approvals assets audit badges docs events favicon.ico git health healthz help inbox
live login logout mcp metrics new nobody oauth oidc openapi.json playground plans repos robots.txt
runs search session settings signin signout static stepwell stream tokens webhooks well-known
"""
RESERVED = frozenset(_WORDS.split())
RESERVED_PEOPLE = frozenset({"nobody", "rules", "stepwell"})
RESERVED_REPOSITORIES = frozenset(
    {"audit", "environments", "live", "members", "new", "plans", "runs", "secrets", "settings", "tokens"}
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,38}")


def check_name(name: str, what: str) -> str:
    """Return the name of a tenant or person, or raise Invalid saying what is wrong with it."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith(".git"):
        raise Invalid(
            f"Name {name[:60]!r} of a {what} is not valid. Use 1 to 39 small letters, digits, '-', '_' or single "
            "dots, a letter or digit first, and not '.git' at the end."
        )
    if name in (RESERVED if what == "tenant" else RESERVED_PEOPLE):
        raise Invalid(f"Name {name!r} of a {what} is a word that Stepwell needs itself. Choose another.")
    return name


def check_repository(name: str) -> str:
    """Refuse a repository's name that the pages of its tenant need; its form is checked by `repos`."""
    if name.lower() in RESERVED_REPOSITORIES:
        raise Invalid(f"Name {name!r} of a repository is a word of Stepwell's own addresses. Choose another.")
    return name
