"""The connections of one attempt: each place told in its log when it is first asked for, all kept with its result.

What a command asks the proxy for is its own text: only what looks like a host is repeated, and only so much of it.
"""

import re
from collections.abc import Callable
from typing import Any

from stepwell_runners.spec import Connection, Traffic

MOST_PLACES = 200
_KEPT_PLACES = 50  # with the result, which the journal holds
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")


class Connections:
    """Notes what `Egress.seen` is told of. Belongs to one event loop."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._places: dict[Connection, Traffic] = {}
        self._others = Traffic()

    def seen(self, connection: Connection) -> Traffic:
        """Take one connection."""
        place = _readable(connection)
        traffic = self._places.get(place)
        if traffic is None and len(self._places) >= MOST_PLACES:
            traffic = self._others
        elif traffic is None:
            traffic = self._places[place] = Traffic()
            self._note(f"network: {_text(place)}")
        traffic.count += 1
        return traffic

    def finish(self) -> None:
        """Say how often, when anything came more than once."""
        counts = {_text(place): traffic.count for place, traffic in self._places.items()}
        often = [f"{place} {count} times" for place, count in counts.items() if count > 1]
        for first in range(0, len(often), 10):
            self._note(f"network: {', '.join(often[first : first + 10])}")
        if self._others.count:
            self._note(f"network: {self._others.count} more connections to places that are not listed")

    def facts(self) -> dict[str, Any] | None:
        """Return `places` in the order in which they came, and how many connections went to `others`; None for none."""
        if not self._places:
            return None
        found = list(self._places.items())
        places = [
            {"host": place.host, "port": place.port, "refused": place.refused, **vars(traffic)}
            for place, traffic in found[:_KEPT_PLACES]
        ]
        others = [self._others, *(traffic for _, traffic in found[_KEPT_PLACES:])]
        return {"places": places, "others": sum(traffic.count for traffic in others)}


def _readable(connection: Connection) -> Connection:
    host = connection.host if _HOST.fullmatch(connection.host) else repr(connection.host[:80])
    if connection.refused is None:
        return Connection(host, connection.port)
    return Connection(host, connection.port, connection.refused.removeprefix(f"{connection.host}: ")[:200])


def _text(place: Connection) -> str:
    text = f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
    return text if place.refused is None else f"{text} refused ({place.refused})"
