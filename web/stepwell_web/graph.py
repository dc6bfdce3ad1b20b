"""The step graph of a run as SVG.

An edge means: this result was delivered before that step was asked for. It is what happened, not what was declared,
so the drawing is true for any Python the author wrote. Only classes and presentation attributes come out.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import pairwise

from markupsafe import Markup

from stepwell_web.graph_layout import Layout, Spot, layout
from stepwell_web.icons import STATES

WIDTH, HEIGHT, GUTTER, CORNER, PAD = 168, 34, 36, 8, 14
LABEL, DETAIL = 12.5, 11.5  # pixels, as run.css has them
_EM = {
    **dict.fromkeys("iIjl|'!.,:; ", 0.34), **dict.fromkeys("tfr()[]-/", 0.42), **dict.fromkeys("sczv", 0.59),
    **dict.fromkeys("mwMW@%", 1.0),
}  # fmt: skip
SIBLINGS = 4
"""From so many steps of one stem and the same needs on, they are drawn as one box."""
_NUMBER = re.compile(r"[\w.+]")  # a character of the last word, which tells siblings apart if it has a digit
_BEFORE = " \t\n:/([-"


@dataclass(frozen=True)
class Node:
    """A box of the graph. `needs` are ids of nodes listed before it; `state` one of the step's states, or "expected".

    One without `href` leads nowhere: there is no such step yet.
    """

    id: str
    label: str
    state: str
    href: str
    needs: tuple[str, ...] = ()
    detail: str = ""
    selected: bool = False


def stem(name: str) -> str:
    """Return what siblings of a matrix share: `test 3.12` → `test`."""
    end = start = len(name.rstrip(")]"))  # by hand: a regular expression would take seconds for one long name
    while start and _NUMBER.match(name[start - 1]):
        start -= 1
    told_apart = any(char.isdecimal() for char in name[start:end])
    return (name[:start].rstrip(_BEFORE) if told_apart else name) or name


def collapse(nodes: Sequence[Node]) -> list[Node]:
    """Draw many siblings of one stem as one box, in the most telling of their states."""
    groups: dict[tuple[str, tuple[str, ...]], list[Node]] = defaultdict(list)
    for node in nodes:
        groups[stem(node.label), node.needs].append(node)
    renamed: dict[str, str] = {}
    boxes: dict[str, Node] = {}
    for (label, _), members in groups.items():
        if len(members) < SIBLINGS:
            continue
        first = _foremost(members)
        for member in members:
            renamed[member.id] = members[0].id
        detail = next((m.detail for m in (first,) if m.detail), "")
        selected = any(m.selected for m in members)
        boxes[members[0].id] = Node(
            members[0].id, f"{label} × {len(members)}", first.state, first.href, (), detail, selected
        )
    result: dict[str, Node] = {}
    for node in nodes:
        if renamed.get(node.id, node.id) != node.id:
            continue
        box = boxes.get(node.id, node)
        needs = tuple(dict.fromkeys(renamed.get(n, n) for n in node.needs))
        result[node.id] = Node(box.id, box.label, box.state, box.href, needs, box.detail, box.selected)
    return list(result.values())


_TELLING = ("failed", "waiting", "retrying", "running", "queued", "cancelled", "skipped", "passed", "expected")


def telling(state: str) -> int:
    """Rank a state: of several steps the one with the lowest rank speaks for all."""
    return _TELLING.index(state) if state in _TELLING else len(_TELLING)


def _foremost(members: Sequence[Node]) -> Node:
    return min(members, key=lambda member: telling(member.state))


def draw(nodes: Sequence[Node], title: str) -> Markup:
    """Draw the graph; nodes are listed after all they need."""
    return _drawn(tuple(nodes), title) if nodes else Markup("")


@lru_cache(64)
def _drawn(given: tuple[Node, ...], title: str) -> Markup:
    """Draw it; every viewer of one run, and every look at one that is over, sees the same."""
    nodes = collapse(given)
    place = layout({n.id: n.needs for n in nodes}, HEIGHT)
    x = {spot: PAD + n * (WIDTH + GUTTER) for n, column in enumerate(place.columns) for spot in column}
    width = PAD * 2 + len(place.columns) * (WIDTH + GUTTER) - GUTTER
    height = place.height + PAD * 2
    parts = [
        f'<svg class="graph" viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" role="group" '
        f'aria-label="{escape(title)}">'
    ]
    parts += _edges(place, x, {n.id: n.state for n in nodes})
    parts += [_box(node, x[node.id], place.middle[node.id] + PAD - HEIGHT / 2) for node in nodes]
    return Markup("".join(parts) + "</svg>")  # noqa: S704


def _box(node: Node, x: float, y: float) -> str:
    room = WIDTH - 34 - 10 - (text_width(node.detail, DETAIL) + 6 if node.detail else 0)
    label = fit(node.label, room, LABEL)
    spoken = f"{node.label}: {node.state}" + (f", {node.detail}" if node.detail else "")
    selected = ' aria-current="true"' if node.selected else ""
    opening = f'class="node is-{node.state}" aria-label="{escape(spoken)}"'
    tag = f'a href="{escape(node.href)}" data-step' if node.href else 'g role="img"'
    return (
        f"<{tag} {opening}{selected}>"
        f"<title>{escape(node.label)}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="{CORNER}"/>'
        f'<svg class="state is-{node.state}" x="{x + 10:.1f}" y="{y + 9:.1f}" width="16" height="16" '
        'viewBox="0 0 16 16">'
        f"{STATES.get(node.state, STATES['queued'])}</svg>"
        # A picture of its own, which cuts off what a wider font than reckoned with would write over the time.
        f'<svg x="{x + 34:.1f}" y="{y:.1f}" width="{room:.1f}" height="{HEIGHT}">'
        f'<text y="21.5">{escape(label)}</text></svg>'
        f'<text class="detail" x="{x + WIDTH - 10:.1f}" y="{y + 21.5:.1f}" text-anchor="end">'
        f"{escape(node.detail)}</text></{tag[0]}>"
    )


def text_width(text: str, size: float) -> float:
    """Reckon how wide a text of `size` pixels is in a wide font of systems without Inter."""
    return sum(_em(sign) for sign in text) * size


def fit(text: str, room: float, size: float) -> str:
    """Shorten a text that is wider than `room`."""
    if text_width(text, size) <= room:
        return text
    left = room - size  # the ellipsis
    for n, sign in enumerate(text):
        left -= _em(sign) * size
        if left < 0:
            return text[: max(n, 1)].rstrip() + "…"
    return text


def _em(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in {"W", "F"}:
        return 1.0
    return _EM.get(sign, 0.7 if sign.isupper() else 0.635)


def _edges(place: Layout, x: Mapping[Spot, float], states: Mapping[str, str]) -> list[str]:
    """Draw edges in four classes, the most telling last so that it lies on top."""
    bends = _Bends(place)
    drawn: dict[str, list[str]] = defaultdict(list)
    for chain in place.chains:
        source, target = states[str(chain[0])], states[str(chain[-1])]
        drawn[_edge_class(source, target)].append(_way(chain, place, x, bends))
    return [f'<path class="edge {c}" d="{"".join(drawn[c])}"/>' for c in ("todo", "dead", "done", "busy") if c in drawn]


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
