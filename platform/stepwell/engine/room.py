"""Room: which runs may use the machine now. Kept in memory only, and made again from the journals by each start.

A run needs a **place** while anything of it goes on, its code in an isolate or a command that it has asked for; caps
say how many places a tenant and a scope may have at a time. Code needs a **turn** besides, of which there are so many
for everybody. Whoever waits is a `Wish` here and rows on disk: a thousand runs that are due at once cost a thousand
small objects, and no isolate more than there are turns.

Who is next: tenants take turns, so one that asks for a thousand delays another by one at most. Within a tenant it is
rank: what people cancelled, then by priority, then what has begun, then who came first. A run that waits for its cap
lets those of others by.

Places are given on the loop's next iteration after one was given back, all that fit in one go; nobody can slip in
between. Belongs on the engine's loop.
"""

import asyncio
import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

Rank = tuple[int, int, int]
"""(1, or 0 for what is being cancelled; priority, negated; 1, or 0 for what has begun): the least is next."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many runs of a tenant, and of a scope of it, may go on at a time; None: as many as like."""

    tenant: int | None = None
    scope: int | None = None


NO_CAPS = Caps()
CapsOf = Callable[[str, str], Caps]
"""(tenant, scope) → its caps as of now. Must not block."""


def no_caps(tenant: str, scope: str) -> Caps:
    """Let everybody have as many places as they like."""
    return NO_CAPS


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run asks for: a place and, with `turn`, a turn for its code."""

    run: str
    tenant: str
    scope: str
    rank: Rank
    turn: bool


Waiting = tuple[Rank, int, int, Wish]
"""(rank, when it came, unique, wish), in the order in which a tenant's are served."""
Scopes = dict[str | None, list[Waiting]]
"""Heaps by scope; None: those whose place is taken already, so that no cap counts."""


def rank_of(priority: int, begun: bool, cancelled: bool = False) -> Rank:
    """Say how urgent a run is among those of its tenant."""
    return (0 if cancelled else 1, -priority, 0 if begun else 1)


class Room:
    """Gives places and turns; calls `on_room` with a run that was told to wait and has now what it asked for."""

    def __init__(self, turns: int, caps: CapsOf = no_caps) -> None:
        self._caps = caps
        self._on_room: Callable[[str], None]
        self._limit = turns
        self._turns: set[str] = set()
        self._places: dict[str, tuple[str, str]] = {}  # run → tenant, scope
        self._used: Counter[tuple[str, str | None]] = Counter()  # (tenant, None) and (tenant, scope) → places
        self._waiting: dict[str, Waiting] = {}
        self._numbers = itertools.count()
        self._for_turns = Line(self._current)
        self._for_places = Line(self._current)
        self._planned = False

    def followed_by(self, on_room: Callable[[str], None]) -> None:
        """Say what follows when a run has what it waited for; before the first one asks."""
        self._on_room = on_room

    @property
    def waiting(self) -> int:
        """How many runs wait for something."""
        return len(self._waiting)

    @property
    def wishes(self) -> "list[Wish]":
        """What those who wait have asked for, in the order in which they came."""
        return [waiting[-1] for waiting in self._waiting.values()]

    @property
    def limit(self) -> int:
        """How many turns there are."""
        return self._limit

    @property
    def turns(self) -> int:
        """How many turns are given away."""
        return len(self._turns)

    @property
    def crowded(self) -> bool:
        """No turn is left, and somebody waits for one."""
        return len(self._turns) >= self._limit and self._for_turns.any

    def waits(self, run: str) -> bool:
        """Say whether a run has asked for what it has not got."""
        return run in self._waiting

    def offers(self, wish: Wish) -> bool:
        """Say whether `ask` would give at once what nobody has asked for yet."""
        return not self._planned and wish.run not in self._turns and wish.run not in self._waiting and self._fits(wish)

    def ask(self, wish: Wish) -> bool:
        """Give what is wished, now (True) or later, by a call of `on_room`. Who asks again keeps its place in line."""
        if wish.run in self._turns or (not wish.turn and wish.run in self._places):
            return True
        old = self._waiting.get(wish.run)
        if old is None and not self._planned and self._fits(wish):  # whoever waits then waits for something else
            self._give(wish)
            return True
        self._wait(wish, old)
        return False

    def turn_over(self, run: str) -> None:
        """Take a turn back; the place stays."""
        if run in self._turns:
            self._turns.remove(run)
            self._plan()

    def leave(self, run: str) -> None:
        """Take back everything of a run, also its wish."""
        self._waiting.pop(run, None)
        self.turn_over(run)
        place = self._places.pop(run, None)
        if place is not None:
            for used in ((place[0], None), place):
                self._used[used] -= 1
                if not self._used[used]:
                    del self._used[used]
            self._reconsider(place[0])

    def caps_changed(self) -> None:
        """Look at everybody again: there may be more room for them."""
        self._reconsider(None)

    def reason(self, run: str) -> str | None:
        """Say what a run waits for; None when it does not."""
        waiting = self._waiting.get(run)
        if waiting is None:
            return None
        return f"waits for room: {self._over(waiting[-1]) or _many(self._limit, 'at all')}"

    def _wait(self, wish: Wish, old: Waiting | None) -> None:
        if old is not None:
            wish = replace(wish, turn=wish.turn or old[-1].turn)
            if wish == old[-1]:
                return
        number = next(self._numbers)
        waiting = (wish.rank, old[1] if old is not None else number, number, wish)
        self._waiting[wish.run] = waiting
        (self._for_turns if wish.turn else self._for_places).add(waiting, capped=wish.run not in self._places)

    def _current(self, waiting: Waiting) -> bool:
        return self._waiting.get(waiting[-1].run) is waiting

    def _fits(self, wish: Wish) -> bool:
        return not (wish.turn and len(self._turns) >= self._limit) and not self._over(wish)

    def _over(self, wish: Wish) -> str:
        """Say which cap is in the way of a place, "" when none is."""
        if wish.run in self._places:
            return ""
        caps = self._caps(wish.tenant, wish.scope)
        if caps.tenant is not None and self._used[wish.tenant, None] >= caps.tenant:
            return _many(caps.tenant, f"of {wish.tenant}")
        if caps.scope is not None and self._used[wish.tenant, wish.scope] >= caps.scope:
            return _many(caps.scope, f"of {wish.scope}")
        return ""

    def _give(self, wish: Wish) -> None:
        self._waiting.pop(wish.run, None)
        if wish.turn:
            self._turns.add(wish.run)
        if wish.run not in self._places:
            self._places[wish.run] = (wish.tenant, wish.scope)
            self._used[wish.tenant, None] += 1
            self._used[wish.tenant, wish.scope] += 1

    def _reconsider(self, tenant: str | None) -> None:
        for line in (self._for_places, self._for_turns):
            line.reconsider(tenant)
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        given: deque[str] = deque()
        while (wish := self._for_places.next(self._fits)) is not None:
            self._give(wish)
            given.append(wish.run)
        while len(self._turns) < self._limit and (wish := self._for_turns.next(self._fits)) is not None:
            self._give(wish)
            given.append(wish.run)
        self._planned = False
        if given:
            self._tell(given)

    def _tell(self, given: deque[str]) -> None:
        """Tell one in each iteration of the loop: its journal, which is read now, may be long."""
        run = given.popleft()
        if given:
            asyncio.get_running_loop().call_soon(self._tell, given)
        self._on_room(run)


class Line:
    """Those who wait for one thing, by tenant. A tenant of which nobody fits is set aside until it is reconsidered."""

    def __init__(self, current: Callable[[Waiting], bool]) -> None:
        self._current = current  # others have got what they wanted, or want it no more
        self._tenants: OrderedDict[str, Scopes] = OrderedDict()
        self._aside: dict[str, Scopes] = {}

    @property
    def any(self) -> bool:
        """Say whether somebody may be next."""
        return bool(self._tenants)

    def add(self, waiting: Waiting, capped: bool) -> None:
        """Take somebody in."""
        wish = waiting[-1]
        self.reconsider(wish.tenant)
        scopes = self._tenants.setdefault(wish.tenant, {})
        heappush(scopes.setdefault(wish.scope if capped else None, []), waiting)

    def reconsider(self, tenant: str | None) -> None:
        """Look again at a tenant, None: at all, that was set aside."""
        if tenant is None:
            self._tenants.update(self._aside)
            self._aside.clear()
        elif tenant in self._aside:
            self._tenants[tenant] = self._aside.pop(tenant)

    def next(self, fits: Callable[[Wish], bool]) -> Wish | None:
        """Take out who is next, of those that fit."""
        while self._tenants:
            tenant, scopes = next(iter(self._tenants.items()))
            best = self._best(scopes, fits)
            if best is not None:
                self._tenants.move_to_end(tenant)
                return heappop(best)[-1]
            del self._tenants[tenant]
            if scopes:
                self._aside[tenant] = scopes
        return None

    def _best(self, scopes: Scopes, fits: Callable[[Wish], bool]) -> list[Waiting] | None:
        """Give those of the scope that is next, of which the first fits; drop what is not current any more."""
        best: list[Waiting] | None = None
        for scope, heap in list(scopes.items()):
            while heap and not self._current(heap[0]):
                heappop(heap)
            if not heap:
                del scopes[scope]
            elif (best is None or heap[0] < best[0]) and fits(heap[0][-1]):
                best = heap
        return best


def _many(cap: int, whose: str) -> str:
    return f"at most {cap} {'run' if cap == 1 else 'runs'} {whose} may go on at a time"
