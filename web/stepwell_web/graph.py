"""The step graph of a run as SVG.

An edge means: this result was delivered before that step was asked for. It is what happened, not what was declared,
so the drawing is true for any Python the author wrote. Only classes and presentation attributes come out.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from itertools import pairwise

from markupsafe import Markup

from stepwell_web.graph_layout import Layout, Spot, layout
from stepwell_web.icons import STATES

WIDTH, HEIGHT, GUTTER, CORNER, PAD = 168, 34, 36, 8, 14
PART = 8
"""Columns of a picture, when a graph has more than two times as many: browsers then draw only those in sight."""
SIBLINGS = 4
"""From so many steps of one stem and the same needs on, they are drawn as one box."""
CROWD = 11
"""From so many boxes of the same needs on, those of them that ask for no look are drawn as one for each state."""
MOST_EDGES = 20_000
"""A graph with more of them is not drawn: nobody could read it, and it would be megabytes."""
LIST = "#steps"
"""Where the box of a crowd leads: to the list, for it stands for no step in particular."""
_PLAIN = frozenset({"passed", "queued", "skipped", "cancelled", "expected"})
_NUMBER = re.compile(r"[\w.+]")  # a character of the last word, which tells siblings apart if it has a digit
_BEFORE = " \t\n:/([-"


@dataclass(frozen=True)
class Node:
    """A box of the graph. `needs` are ids of nodes listed before it; `state` one of the step's states, or "expected".

    One without `href` leads nowhere: there is no such step yet. `detail` says in words what `seconds` says.
    """

    id: str
    label: str
    state: str
    href: str
    needs: tuple[str, ...] = ()
    detail: str = ""
    selected: bool = False
    seconds: float = 0.0
    steps: int = 1  # how many it stands for
    hint: str = ""  # shown when it is pointed at, in place of the label
    since: float | None = None  # when it began, if it goes on: its time grows


@dataclass(frozen=True)
class _Edge:
    """A way from `start` to `end`, both from the left, and which of the classes of edges it is."""

    kind: str
    start: float
    end: float
    way: str


def stem(name: str) -> str:
    """Return what siblings of a matrix share: `test 3.12` → `test`."""
    end = start = len(name.rstrip(")]"))  # by hand: a regular expression would take seconds for one long name
    while start and _NUMBER.match(name[start - 1]):
        start -= 1
    told_apart = any(char.isdecimal() for char in name[start:end])
    return (name[:start].rstrip(_BEFORE) if told_apart else name) or name


def collapse(nodes: Sequence[Node]) -> list[Node]:
    """Draw many siblings of one stem as one box, in the most telling of their states, and crowds as few boxes."""
    groups: dict[tuple[str, tuple[str, ...]], list[Node]] = defaultdict(list)
    for node in nodes:
        groups[stem(node.label), node.needs].append(node)
    renamed: dict[str, str] = {}
    boxes: dict[str, Node] = {}
    for (label, _), members in groups.items():
        if len(members) >= SIBLINGS:
            first = min(members, key=lambda member: telling(member.state))
            _join(members, replace(first, label=f"{label} × {len(members)}"), renamed, boxes)
    return _thinned(_put(nodes, renamed, boxes))


def _join(members: Sequence[Node], like: Node, renamed: dict[str, str], boxes: dict[str, Node]) -> None:
    """Put a box like one of its members in the place of the first; it took as long as the longest of them."""
    longest, id = max(members, key=lambda member: member.seconds), members[0].id
    renamed.update((member.id, id) for member in members)
    boxes[id] = replace(
        like, id=id, detail=longest.detail, seconds=longest.seconds, since=longest.since,
        selected=any(member.selected for member in members), steps=sum(member.steps for member in members),
    )  # fmt: skip


def _put(nodes: Iterable[Node], renamed: Mapping[str, str], boxes: Mapping[str, Node]) -> list[Node]:
    """List nodes with boxes in the places of those that were joined."""
    return [
        replace(boxes.get(node.id, node), needs=_renamed(node.needs, renamed))
        for node in nodes
        if renamed.get(node.id, node.id) == node.id
    ]


def _renamed(needs: Iterable[str], renamed: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(renamed.get(need, need) for need in needs))


def _thinned(nodes: Sequence[Node]) -> list[Node]:
    """Join those of a crowd that are in one state, unless people look for one of them.

    From left to right: which boxes follow the same ones is known only when those have been joined.
    """
    depth: dict[str, int] = {}
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        depth[node.id] = max((depth[need] + 1 for need in node.needs), default=0)
        columns[depth[node.id]].append(node)
    renamed: dict[str, str] = {}
    boxes: dict[str, Node] = {}
    for _, column in sorted(columns.items()):
        crowds: dict[frozenset[str], list[Node]] = defaultdict(list)
        for node in column:
            crowds[frozenset(_renamed(node.needs, renamed))].append(node)
        for crowd in crowds.values():
            for state in _PLAIN if len(crowd) >= CROWD else ():
                members = [node for node in crowd if node.state == state and not node.selected]
                if len(members) > 1:
                    longest = max(members, key=lambda member: member.seconds)
                    label = f"{sum(member.steps for member in members)} {state}"
                    hint = f"{label}, the longest {longest.label}" if longest.detail else label
                    like = replace(longest, label=label, hint=hint, href=longest.href and LIST)
                    _join(members, like, renamed, boxes)
    return _put(nodes, renamed, boxes)


_TELLING = ("failed", "waiting", "retrying", "running", "queued", "cancelled", "skipped", "passed", "expected")


def telling(state: str) -> int:
    """Rank a state: of several steps the one with the lowest rank speaks for all."""
    return _TELLING.index(state) if state in _TELLING else len(_TELLING)


def draw(nodes: Sequence[Node], title: str) -> Markup:
    """Draw the graph; nodes are listed after all they need."""
    return _drawn(tuple(nodes), title) if nodes else Markup("")


@lru_cache(64)
def _drawn(given: tuple[Node, ...], title: str) -> Markup:
    """Draw it; every viewer of one run, and every look at one that is over, sees the same."""
    nodes = collapse(given)
    if sum(len(node.needs) for node in nodes) > MOST_EDGES:
        return Markup("")
    place = layout({n.id: n.needs for n in nodes}, HEIGHT)
    x = {spot: PAD + n * (WIDTH + GUTTER) for n, column in enumerate(place.columns) for spot in column}
    edges = _edges(place, x, {n.id: n.state for n in nodes})
    boxes = [(x[node.id], _box(node, x[node.id], place.middle[node.id] + PAD - HEIGHT / 2)) for node in nodes]
    cuts, height = _cuts(len(place.columns)), place.height + PAD * 2
    parts = []
    for number, (left, right) in enumerate(pairwise(cuts), 1):
        name = title if len(cuts) == 2 else f"{title}, part {number} of {len(cuts) - 1}"
        parts.append(
            f'<svg class="graph" viewBox="{left} 0 {right - left} {height:.0f}" width="{right - left}" '
            f'height="{height:.0f}" role="group" aria-label="{escape(name)}">{_paths(edges, left, right)}'
            f"{''.join(box for at, box in boxes if left <= at < right)}</svg>"
        )
    if len(parts) == 1:
        return Markup(parts[0])  # noqa: S704
    return Markup("".join(f'<div class="graph-part">{part}</div>' for part in parts))  # noqa: S704


def _cuts(columns: int) -> list[int]:
    """Where the pictures begin that a graph consists of, in the middle of gutters, and where the last one ends."""
    step = WIDTH + GUTTER
    inner = range(PART, columns, PART) if columns > 2 * PART else ()
    return [0, *(PAD + n * step - GUTTER // 2 for n in inner), PAD * 2 + columns * step - GUTTER]


def _box(node: Node, x: float, y: float) -> str:
    spoken = (node.hint or f"{node.label}: {node.state}") + (f", {node.detail}" if node.detail else "")
    selected = ' aria-current="true"' if node.selected else ""
    opening = f'class="node is-{node.state}" aria-label="{escape(spoken)}"'
    opens = "" if node.href == LIST else " data-step"
    tag = f'a href="{escape(node.href)}"{opens}' if node.href else 'g role="img"'
    since = f' data-since="{node.since}"' if node.since else ""
    detail = f"<small{since}>{escape(node.detail)}</small>" if node.detail else ""
    name, joined, count = node.label.rpartition(" × ") if node.steps > 1 else ("", "", node.label)
    label = f"<span>{escape(name or count)}</span>" + (f"<b>× {count}</b>" if joined else "")
    return (
        f"<{tag} {opening}{selected}>"
        f"<title>{escape(node.hint or node.label)}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="{CORNER}"/>'
        f'<svg class="state is-{node.state}" x="{x + 10:.1f}" y="{y + 9:.1f}" width="16" height="16" '
        'viewBox="0 0 16 16">'
        f"{STATES.get(node.state, STATES['queued'])}</svg>"
        # HTML, which knows how wide its font is and shortens the name, not the count, to the room that there is.
        f'<foreignObject x="{x + 34:.1f}" y="{y:.1f}" width="{WIDTH - 44}" height="{HEIGHT}">'
        f'<div class="node-text">{label}{detail}</div></foreignObject></{tag[0]}>'
    )


def _edges(place: Layout, x: Mapping[Spot, float], states: Mapping[str, str]) -> list[_Edge]:
    bends = _Bends(place)
    return [
        _Edge(
            _edge_class(states[str(chain[0])], states[str(chain[-1])]), x[chain[0]] + WIDTH, x[chain[-1]],
            _way(chain, place, x, bends),
        )
        for chain in place.chains
    ]  # fmt: skip


def _paths(edges: Sequence[_Edge], left: float, right: float) -> str:
    """Draw the edges seen between `left` and `right` in four classes, the most telling last so that it lies on top."""
    drawn: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if edge.start < right and edge.end > left:
            drawn[edge.kind].append(edge.way)
    kinds = (kind for kind in ("todo", "dead", "done", "busy") if kind in drawn)
    return "".join(f'<path class="edge {kind}" d="{"".join(drawn[kind])}"/>' for kind in kinds)


def _edge_class(source: str, target: str) -> str:
    if source in ("failed", "cancelled") and target in ("skipped", "cancelled", "queued"):
        return "dead"
    if target in ("running", "retrying"):
        return "busy"
    return "todo" if target in ("queued", "skipped", "expected") else "done"


class _Bends:
    """Where in a gutter an edge goes up or down: edges with a common end share a track, others that overlap do not."""

    def __init__(self, place: Layout) -> None:
        self._column = {spot: n for n, column in enumerate(place.columns) for spot in column}
        links = {(a, b) for chain in place.chains for a, b in pairwise(chain)}
        self._out: dict[Spot, int] = defaultdict(int)
        self._in: dict[Spot, int] = defaultdict(int)
        for a, b in links:
            self._out[a] += 1
            self._in[b] += 1
        spans: dict[tuple[int, str, Spot], tuple[float, float]] = {}
        for a, b in links:
            low, high = sorted((place.middle[a], place.middle[b]))
            if high - low >= 1.5:
                key = self._key(a, b)
                old = spans.get(key, (low, high))
                spans[key] = min(old[0], low), max(old[1], high)
        self._track: dict[tuple[int, str, Spot], int] = {}
        self._count: dict[int, int] = defaultdict(lambda: 1)
        for key in sorted(spans, key=lambda k: (k[0], spans[k][0], str(k))):
            self._assign(key, spans)

    def _assign(self, key: tuple[int, str, Spot], spans: Mapping[tuple[int, str, Spot], tuple[float, float]]) -> None:
        low, high = spans[key]
        used = {
            t for k, t in self._track.items() if k[0] == key[0] and spans[k][0] <= high + 4 and spans[k][1] + 4 >= low
        }
        track = next(n for n in range(len(used) + 1) if n not in used)
        self._track[key] = track
        self._count[key[0]] = max(self._count[key[0]], track + 1)

    def _key(self, a: Spot, b: Spot) -> tuple[int, str, Spot]:
        return (self._column[a], "from", a) if self._out[a] >= self._in[b] else (self._column[a], "to", b)

    def offset(self, a: Spot, b: Spot) -> float:
        """How far right of the left column's edge the link from `a` to `b` turns."""
        tracks = self._count[self._column[a]]
        return GUTTER * (self._track.get(self._key(a, b), 0) + 1) / (tracks + 1)


def _way(chain: Sequence[Spot], place: Layout, x: Mapping[Spot, float], bends: _Bends) -> str:
    path = f"M{x[chain[0]] + WIDTH:.0f} {place.middle[chain[0]] + PAD:.1f}"
    for a, b in pairwise(chain):
        start, end = x[a] + WIDTH, x[b]
        path += _link(start, place.middle[a] + PAD, end, place.middle[b] + PAD, start + bends.offset(a, b))
        if not isinstance(b, str):
            path += f"H{end + WIDTH:.0f}"
    return path


def _link(x0: float, y0: float, x1: float, y1: float, bend: float) -> str:
    """Write one right-angled link with round corners."""
    if abs(y0 - y1) < 1.5:
        return f"L{x1:.0f} {y1:.1f}" if y0 != y1 else f"H{x1:.0f}"
    r = min(CORNER, abs(y1 - y0) / 2, bend - x0, x1 - bend)
    s = r if y1 > y0 else -r
    return (
        f"H{bend - r:.1f}Q{bend:.1f} {y0:.1f} {bend:.1f} {y0 + s:.1f}"
        f"V{y1 - s:.1f}Q{bend:.1f} {y1:.1f} {bend + r:.1f} {y1:.1f}H{x1:.0f}"
    )
