"""The axis of a waterfall: work to scale, long waits folded.

Three days of waiting for a person would press a minute of work into a hairline. A stretch in which nothing works and
that is longer than all the rest is worth is folded to a fixed part of the width; the axis says what it left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.ci.timeline import Span

FOLDABLE = frozenset({"person", "wait", "paused", "retry"})
FOLD_FROM = 0.6
"""A wait is folded that takes longer than this part of all that is not foldable."""
FOLD_WIDTH = 0.09
TICKS = 8
_STEPS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600,
    7200, 14400, 28800, 86400,
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A part of the axis: from `start` to `end` in seconds since the epoch, from `left` to `right` in percent."""

    start: float
    end: float
    left: float
    right: float
    folded: bool


@dataclass(frozen=True)
class Tick:
    """A line of the grid; `after` is the seconds since the beginning, or since the fold before it."""

    place: float  # percent
    after: float
    from_fold: bool


class Axis:
    """Places moments between 0 and 100 percent."""

    def __init__(self, stretches: Sequence[Span]) -> None:
        waits = _waits(stretches)
        solid = _length(stretches) - sum(end - start for start, end in waits)
        folds = [(start, end) for start, end in waits if end - start > solid * FOLD_FROM] if solid > 0 else []
        self.begin, self.end = stretches[0].start, stretches[-1].end
        self.pieces = _pieces(self.begin, self.end, folds)

    def place(self, at: float) -> float:
        """Give the place of a moment in percent."""
        for piece in self.pieces:
            if at <= piece.end:
                part = (max(at, piece.start) - piece.start) / (piece.end - piece.start)
                return piece.left + part * (piece.right - piece.left)
        return 100.0

    def ticks(self) -> list[Tick]:
        """Give the lines of the grid, at round distances."""
        solid = [piece for piece in self.pieces if not piece.folded]
        total = sum(piece.end - piece.start for piece in solid)
        step = next((one for one in _STEPS if total / one <= TICKS), max(86400.0, total / TICKS))
        found = []
        for piece in solid:
            number, after = 1, piece.start > self.begin
            while piece.start + number * step < piece.end - step * 0.3:
                found.append(Tick(self.place(piece.start + number * step), number * step, after))
                number += 1
        return found


def _length(stretches: Sequence[Span]) -> float:
    return stretches[-1].end - stretches[0].start


def _waits(stretches: Sequence[Span]) -> list[tuple[float, float]]:
    """Join waits of several kinds that follow each other."""
    found: list[tuple[float, float]] = []
    for one in stretches:
        if one.kind in FOLDABLE:
            if found and found[-1][1] == one.start:
                found[-1] = found[-1][0], one.end
            else:
                found.append((one.start, one.end))
    return found


def _pieces(begin: float, end: float, folds: Sequence[tuple[float, float]]) -> list[Piece]:
    width = min(FOLD_WIDTH, 0.5 / len(folds)) * 100 if folds else 0.0
    solid = (end - begin) - sum(b - a for a, b in folds)
    scale = (100 - width * len(folds)) / solid
    pieces: list[Piece] = []
    at, left = begin, 0.0
    for start, over in [*folds, (end, end)]:
        if start > at:
            right = left + (start - at) * scale
            pieces.append(Piece(at, start, left, right, False))
            left = right
        if over > start:
            pieces.append(Piece(start, over, left, left + width, True))
            left += width
        at = over
    return pieces
