"""Terminal output of a step as safe HTML, one line at a time.

Why a renderer of our own: text of a log is hostile, so everything is escaped and only classes come out (no inline
style, which the content policy forbids); the colours have to survive from line to line; and an emulator with a screen
(pyte) is twenty times slower than needed.

The 256 and 16 million colours are drawn with the nearest of the sixteen named ones: those have a light and a dark form
that stays readable on either ground, which nobody can promise for an arbitrary colour.
Understood: colours and weights (SGR), carriage returns and line erasing as progress bars use them, links (OSC 8, http
and https only). Every other escape and control character is dropped; what reorders text, or is not seen, is told.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from itertools import islice

from stepwell_web import unseen

_TOKEN = re.compile(
    r"\x1b\[(?P<args>[0-?]*)[ -/]*(?P<final>[@-~])"  # CSI
    r"|\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"  # OSC, ended by BEL or ST
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\|$)"  # strings of other kinds
    r"|\x1b\[[0-?]*[ -/]*$|\x1b\][^\x07\x1b]*$"  # cut off at the end of the line; must not look beyond the next escape
    r"|\x1b[ -/]*[0-Z\\^-~]"  # two-character escapes
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]"  # controls
)
_URL = re.compile(r"https?://[^\x00-\x20\"'<>\\]+\Z", re.IGNORECASE)

_ON = {1: "b", 2: "d", 3: "i", 4: "u", 7: "v", 8: "h", 9: "s"}
_OFF = {21: "b", 22: "bd", 23: "i", 24: "u", 27: "v", 28: "h", 29: "s"}

# Foreground 0-15 as terminals number them; only their order of hue matters here, the shades are the style sheet's.
_NAMED = (
    (0, 0, 0), (205, 49, 49), (13, 160, 90), (180, 140, 0),
    (36, 114, 200), (188, 63, 188), (17, 150, 180), (200, 200, 200),
    (102, 102, 102), (241, 76, 76), (35, 209, 139), (245, 245, 67),
    (59, 142, 234), (214, 112, 214), (41, 184, 219), (255, 255, 255),
)  # fmt: skip
_CUBE = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class Style:
    """What the escapes so far ask for; carried from line to line."""

    fg: int | None = None
    bg: int | None = None
    flags: frozenset[str] = frozenset()
    link: str | None = None

    @property
    def classes(self) -> str:
        """The style as class names, in a fixed order."""
        names = sorted(self.flags)
        if self.fg is not None:
            names.append(f"f{self.fg}")
        if self.bg is not None:
            names.append(f"g{self.bg}")
        return " ".join(names)


PLAIN = Style()


def render(line: str, style: Style = PLAIN) -> tuple[str, Style]:
    """Turn one line into HTML; returns it with the style that the next line starts with."""
    if style is PLAIN and line.isprintable():
        return escape(line, quote=False), style
    shown, style = _after_carriage_returns(line.rstrip("\r"), style)
    parts: list[str] = []
    at = 0
    for token in _TOKEN.finditer(shown):
        _put(parts, shown[at : token.start()], style)
        at = token.end()
        if _erases(token):
            parts.clear()
        style = _follow(token, style)
    _put(parts, shown[at:], style)
    return "".join(parts), PLAIN if style == PLAIN else style


def plain(line: str) -> str:
    """Return the text of a line without any escape, as search and error detection read it."""
    return line if line.isprintable() else unseen.shown(_TOKEN.sub("", line.rstrip("\r").rpartition("\r")[2]))


def _after_carriage_returns(line: str, style: Style) -> tuple[str, Style]:
    """Keep what a terminal would show at the end: the last part that says something."""
    if "\r" not in line:
        return line, style
    parts = line.split("\r")
    last = next((n for n in range(len(parts) - 1, -1, -1) if _TOKEN.sub("", parts[n])), len(parts) - 1)
    for part in parts[:last]:
        for token in _TOKEN.finditer(part):
            style = _follow(token, style)
    return parts[last], style


def _erases(token: re.Match[str]) -> bool:
    final, args = token["final"], token["args"]
    return (final == "K" and args in ("1", "2")) or (final == "G" and args in ("", "1"))


def _follow(token: re.Match[str], style: Style) -> Style:
    if token["final"] == "m":
        return _sgr(style, token["args"])
    if token["osc"] is not None and token["osc"].startswith("8;"):
        url = token["osc"].split(";", 2)[-1]
        return replace(style, link=url if _URL.match(url) else None)
    return style


def _put(parts: list[str], text: str, style: Style) -> None:
    if not text:
        return
    html, classes = unseen.shown(escape(text, quote=False)), style.classes
    attribute = f' class="{classes}"' if classes else ""
    if style.link:
        parts.append(f'<a href="{escape(style.link)}" rel="noopener noreferrer nofollow"{attribute}>{html}</a>')
    else:
        parts.append(f"<span{attribute}>{html}</span>" if classes else html)


def _sgr(style: Style, args: str) -> Style:
    fg, bg, flags = style.fg, style.bg, set(style.flags)
    numbers = iter([int(n) if n.isdigit() and len(n) < 5 else 0 for n in args.replace(":", ";").split(";")])
    for n in numbers:
        if n == 0:
            fg, bg, flags = None, None, set()
        elif n in _ON:
            flags.add(_ON[n])
        elif n in _OFF:
            flags.difference_update(_OFF[n])
        elif n in (38, 48):
            colour = _extended(numbers)
            fg, bg = (colour, bg) if n == 38 else (fg, colour)
        elif n in (39, 49):
            fg, bg = (None, bg) if n == 39 else (fg, None)
        elif 30 <= n <= 37 or 90 <= n <= 97:
            fg = n - 30 if n < 90 else n - 82
        elif 40 <= n <= 47 or 100 <= n <= 107:
            bg = n - 40 if n < 100 else n - 92
    return Style(fg, bg, frozenset(flags), style.link)


def _extended(rest: Iterator[int]) -> int | None:
    """Read the rest of `38;5;n` or `38;2;r;g;b`."""
    mode = next(rest, 0)
    if mode == 5:
        n = min(next(rest, 0), 255)
        return n if n < 16 else _nearest(*_of_256(n))
    if mode == 2:
        rgb = [min(c, 255) for c in islice(rest, 3)]
        return _nearest(*rgb) if len(rgb) == 3 else None
    return None


def _of_256(n: int) -> tuple[int, int, int]:
    if n >= 232:
        grey = 8 + 10 * (n - 232)
        return grey, grey, grey
    n -= 16
    return _CUBE[n // 36], _CUBE[n // 6 % 6], _CUBE[n % 6]


def _nearest(r: int, g: int, b: int) -> int:
    return min(range(16), key=lambda n: sum((x - y) ** 2 for x, y in zip(_NAMED[n], (r, g, b), strict=True)))
