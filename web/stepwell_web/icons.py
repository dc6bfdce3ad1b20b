"""Icons as inline SVG: lucide's outlines for the interface, shapes of our own for states.

A state is told by shape before colour: disc and tick, octagon and cross, ring with a turning arc, diamond with bars,
dashed ring, three dots, ring with a dash, square with a slash, arrow going back. Filled means finished or waiting for a
person.
"""

from functools import cache, lru_cache
from html import escape

from lucide.jinja import lucide
from markupsafe import Markup

STATES: dict[str, str] = {
    "passed": '<circle class="fill" cx="8" cy="8" r="7"/><path class="cut" d="M4.9 8.3l2.1 2.1 4.1-4.5"/>',
    "failed": '<path class="fill" d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z"/>'
    '<path class="cut" d="M5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6"/>',
    "diverged": '<path class="fill" d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z"/>'
    '<path class="cut" d="M8 12.2V8.6L5 4.4M8 8.6l3-4.2"/>',
    "running": '<circle class="out dim" cx="8" cy="8" r="6"/><path class="out spin" d="M8 2a6 6 0 0 1 6 6"/>'
    '<circle class="fill" cx="8" cy="8" r="2.4"/>',
    "retrying": '<circle class="out dim" cx="8" cy="8" r="6"/><path class="out spin" d="M8 2a6 6 0 0 1 6 6"/>'
    '<path class="out" d="M8 5.4v3.2M8 10.6v.1"/>',
    "waiting": '<path class="fill" d="M8 .8L15.2 8 8 15.2.8 8z"/><path class="cut" d="M6.6 5.6v4.8M9.4 5.6v4.8"/>',
    "paused": '<circle class="out" cx="8" cy="8" r="6"/><path class="out" d="M6.5 6v4M9.5 6v4"/>',
    "queued": '<circle class="out dash" cx="8" cy="8" r="6"/>',
    "expected": '<circle class="fill" cx="2.8" cy="8" r="1.6"/><circle class="fill" cx="8" cy="8" r="1.6"/>'
    '<circle class="fill" cx="13.2" cy="8" r="1.6"/>',
    "skipped": '<circle class="out" cx="8" cy="8" r="6"/><path class="out" d="M5 8h6"/>',
    "lost": '<path class="out" d="M2.6 5.6A6 6 0 1 1 2 8M2.4 2.2v3.6H6"/>',
    "cancelled": '<rect class="out" x="2" y="2" width="12" height="12" rx="3"/><path class="out" d="M5.5 10.5l5-5"/>',
}


@lru_cache(1024)
def state_icon(state: str, size: str = "", label: str = "") -> Markup:
    """Draw a state; `size` is a class (`sm`, `lg`, `xl`), `label` names it when no word stands beside it."""
    shape = STATES.get(state, STATES["queued"])
    spoken = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    names = " ".join(("state", f"is-{escape(state)}", *size.split()))
    return Markup(f'<svg class="{names}" viewBox="0 0 16 16" {spoken}>{shape}</svg>')  # noqa: S704


@cache
def icon(name: str, classes: str = "") -> Markup:
    """Draw one of lucide's icons as decoration beside a word; always hidden from readers of the screen."""
    names = f"icon {classes}".strip()
    return Markup(lucide(name, size=16, stroke_width=1.5, aria_hidden="true", **{"class": names}))  # noqa: S704
