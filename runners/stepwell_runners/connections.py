"""The connections of one attempt, told in its log: each place once, when it is first asked for; at the end how often.

What a command asks the proxy for is its own text: only what looks like a host is repeated.
"""

import re
from collections import Counter
from collections.abc import Callable

from stepwell_runners.spec import Connection

MOST_PLACES = 200
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")


class Connections:
    """Notes what `Egress.seen` is told of. Belongs to one event loop."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._places: Counter[str] = Counter()
        self._others = 0

    def seen(self, connection: Connection) -> None:
        """Take one connection."""
        place = _place(connection)
        if place not in self._places:
            if len(self._places) >= MOST_PLACES:
                self._others += 1
                return
            self._note(f"network: {place}")
        self._places[place] += 1

    def finish(self) -> None:
        """Say how often, when anything came more than once."""
        often = [f"{place} {count} times" for place, count in self._places.items() if count > 1]
        for first in range(0, len(often), 10):
            self._note(f"network: {', '.join(often[first : first + 10])}")
        if self._others:
            self._note(f"network: {self._others} more connections to places that are not listed")


def _place(connection: Connection) -> str:
    host = connection.host if _HOST.fullmatch(connection.host) else repr(connection.host[:80])
    place = f"[{host}]:{connection.port}" if ":" in host else f"{host}:{connection.port}"
    if connection.refused is None:
        return place
    reason = connection.refused.removeprefix(f"{connection.host}: ")
    return f"{place} refused ({reason[:200]})"
