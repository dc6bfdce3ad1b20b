"""What a run asks people, as the summary in its row names it.

A million runs may wait with it, so nothing is written twice: a key is `name#n`, and most questions have no environment.
Rows that an older Stepwell wrote name all three of each.
"""

from typing import Any, NamedTuple


class Asked(NamedTuple):
    """An approval that a run waits for. `environment`: "" when it has none."""

    key: str
    name: str
    environment: str


def brief(asked: Asked) -> str | dict[str, str]:
    """Give it as it is written: its key, and what does not follow from that."""
    key, name, environment = asked
    more = {}
    if name != _name_in(key):
        more["name"] = name
    if environment:
        more["environment"] = environment
    return {"key": key, **more} if more else key


def asked_of(written: Any) -> Asked:
    """Read it. Raises TypeError, KeyError or AttributeError for what no Stepwell wrote."""
    if isinstance(written, str):
        return Asked(written, _name_in(written), "")
    key = written["key"]
    return Asked(key, written.get("name") or _name_in(key), written.get("environment") or "")


def _name_in(key: str) -> str:
    return key.rpartition("#")[0]
