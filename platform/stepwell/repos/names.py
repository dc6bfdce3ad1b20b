"""Names that repositories and tenants may bear in a URL and on disk."""

import re

from stepwell.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str, what: str = "repository") -> str:
    """Return the name, or raise Invalid saying what is wrong with it. Reserved words are the caller's business."""
    quoted = f"Name {name[:120]!r} of a {what}"
    if ".." in name:
        raise Invalid(f"{quoted} has '..' in it. Use single dots only.")
    if name.lower().endswith(".git"):
        raise Invalid(f"{quoted} ends in '.git'. Leave the ending out: the address adds it.")
    if not _NAME.fullmatch(name):
        raise Invalid(f"{quoted} is not valid. Use 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first.")
    return name


def check_id(repository: str) -> str:
    """Return the repository's id, fit to be part of a path."""
    if not _ID.fullmatch(repository):
        raise Invalid(f"Repository id {repository[:80]!r} is not valid. Use 1 to 64 letters, digits, '_' or '-'.")
    return repository
