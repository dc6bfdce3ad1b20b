"""Places the boxes of a step graph: columns by depth, few crossings, edges that share a way.

The classic four moves of a layered drawing (Sugiyama): rank by longest path, bend long edges over places between the
ranks, order each column by the mean of its neighbours, then set heights so that links run level where they can. Written
here because it is 150 lines, takes 1-4 ms for 15 steps, and the drawing libraries either need a process (graphviz) or a
script in the page.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP = 10.0
SWEEPS = 8
RELAX = 24
STRAIGHTEN = 16.0

Via = tuple[str, int]
"""The place of an edge from `str` in the column `int`: all long edges of one source share it."""
Spot = str | Via


@dataclass(frozen=True)
class Layout:
    """Columns from left to right with their spots from top to bottom, their middle heights, the way of each edge."""

    columns: tuple[tuple[Spot, ...], ...]
    middle: Mapping[Spot, float]
    height: float
    chains: tuple[tuple[Spot, ...], ...]


def reduce(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Leave out an edge where a longer way says the same. `needs` lists every node after all it needs."""
    above: dict[str, set[str]] = {}
    for node, direct in needs.items():
        above[node] = set(direct).union(*(above[d] for d in direct))
    return {
        node: [d for d in direct if not any(d in above[o] for o in direct if o != d)] for node, direct in needs.items()
    }


def layout(needs: Mapping[str, Sequence[str]], box: float, via: float = 4.0) -> Layout:
    """Place every node of `needs` (each listed after all it needs); `box` is the height of a node."""
    direct = reduce(needs)
    rank = _ranks(direct)
    net = _Net(direct, rank)
    columns = _order(net)
    size = {spot: box if isinstance(spot, str) else via for column in columns for spot in column}
    top = _heights(net, columns, size)
    low = min((top[s] for s in top), default=0.0)
    middle = {spot: top[spot] - low + size[spot] / 2 for spot in top}
    height = max((middle[s] + size[s] / 2 for s in middle), default=0.0)
    return Layout(tuple(tuple(c) for c in columns), middle, height, tuple(tuple(c) for c in net.chains))


def _ranks(direct: Mapping[str, Sequence[str]]) -> dict[str, int]:
    rank: dict[str, int] = {}
    users: dict[str, list[str]] = defaultdict(list)
    for node, above in direct.items():
        rank[node] = max((rank[a] + 1 for a in above), default=0)
        for a in above:
            users[a].append(node)
    for node, above in direct.items():  # a step that waits for nothing stands just before its first user
        if not above and users[node]:
            rank[node] = max(0, min(rank[u] for u in users[node]) - 1)
    return rank


class _Net:
    """Nodes, places between them, and who touches whom in the next column."""

    def __init__(self, direct: Mapping[str, Sequence[str]], rank: Mapping[str, int]) -> None:
        self.up: dict[Spot, list[Spot]] = defaultdict(list)
        self.down: dict[Spot, list[Spot]] = defaultdict(list)
        self.chains: list[list[Spot]] = []
        columns: dict[int, list[Spot]] = defaultdict(list)
        for node in direct:
            columns[rank[node]].append(node)
        for node, above in direct.items():
            for source in above:
                chain: list[Spot] = [source]
                for r in range(rank[source] + 1, rank[node]):
                    if (source, r) not in columns[r]:
                        columns[r].append((source, r))
                    chain.append((source, r))
                chain.append(node)
                self._link(chain)
        self.columns = [columns[r] for r in sorted(columns)]

    def _link(self, chain: list[Spot]) -> None:
        self.chains.append(chain)
        for a, b in pairwise(chain):
            if b not in self.down[a]:
                self.down[a].append(b)
                self.up[b].append(a)


def _order(net: _Net) -> list[list[Spot]]:
    """Sort each column by the mean place of its neighbours, to and fro; keep the order with the fewest crossings."""
    columns = [list(c) for c in net.columns]
    at = {spot: float(n) for column in columns for n, spot in enumerate(column)}
    best, fewest = [list(c) for c in columns], _crossings(net, columns, at)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forth = sweep % 2 == 0
        beside = net.up if forth else net.down
        for column in columns[1:] if forth else columns[-2::-1]:
            mean = {s: sum(at[o] for o in beside[s]) / len(beside[s]) if beside[s] else at[s] for s in column}
            column.sort(key=lambda s, mean=mean: (mean[s], at[s]))  # type: ignore[misc]
            at.update({spot: float(n) for n, spot in enumerate(column)})
        found = _crossings(net, columns, at)
        if found < fewest:
            best, fewest = [list(c) for c in columns], found
    return best


def _crossings(net: _Net, columns: list[list[Spot]], at: Mapping[Spot, float]) -> int:
    total = 0
    for column in columns[1:]:
        ends = [(at[above], at[spot]) for spot in column for above in net.up[spot]]
        total += sum((a - c) * (b - d) < 0 for n, (a, b) in enumerate(ends) for c, d in ends[n + 1 :])
    return total


def _heights(net: _Net, columns: list[list[Spot]], size: Mapping[Spot, float]) -> dict[Spot, float]:
    """Move spots towards the mean of their neighbours without changing the order or closing the gaps."""
    top: dict[Spot, float] = {}
    for column in columns:
        y = -(sum(size[s] + GAP for s in column) - GAP) / 2
        for spot in column:
            top[spot] = y
            y += size[spot] + GAP
    start = dict(top)
    for turn in range(RELAX):
        forth = turn % 2 == 0
        for column in columns if forth else columns[::-1]:
            wish = {}
            for spot in column:
                beside = (net.up if forth else net.down)[spot] or net.up[spot] + net.down[spot]
                mean = (
                    sum(top[b] + size[b] / 2 for b in beside) / len(beside) - size[spot] / 2 if beside else start[spot]
                )
                wish[spot] = 0.8 * mean + 0.2 * start[spot] if beside else mean
            _settle(column, wish, size, top)
    for column in columns[1:]:
        _straighten(net, column, size, top)
    return top


def _settle(column: list[Spot], wish: Mapping[Spot, float], size: Mapping[Spot, float], top: dict[Spot, float]) -> None:
    """Give each spot the nearest height to its wish that keeps the order (pool adjacent violators)."""
    blocks: list[tuple[float, list[Spot]]] = []
    above = 0.0
    for spot in column:
        total, members = wish[spot] - above, [spot]
        above += size[spot] + GAP
        while blocks and blocks[-1][0] / len(blocks[-1][1]) > total / len(members):
            t, m = blocks.pop()
            total, members = t + total, m + members
        blocks.append((total, members))
    above = 0.0
    for total, members in blocks:
        for spot in members:
            top[spot] = total / len(members) + above
            above += size[spot] + GAP


def _straighten(net: _Net, column: list[Spot], size: Mapping[Spot, float], top: dict[Spot, float]) -> None:
    """Level links that are nearly so already, where the neighbours leave room."""
    for n, spot in enumerate(column):
        lowest = top[column[n - 1]] + size[column[n - 1]] + GAP if n else float("-inf")
        highest = top[column[n + 1]] - GAP - size[spot] if n + 1 < len(column) else float("inf")
        for above in net.up[spot]:
            level = top[above] + size[above] / 2 - size[spot] / 2
            if abs(level - top[spot]) < STRAIGHTEN and lowest <= level <= highest:
                top[spot] = level
                break
