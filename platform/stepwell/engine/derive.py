"""From a journal to what is kept beside it: by the engine's own fold and summary, so that the two cannot disagree."""

from collections.abc import Sequence

from stepwell.engine.entries import Entry
from stepwell.engine.live import load
from stepwell.store.derived import Derived, row_of
from stepwell.store.journal import Loaded


def derive(entries: Sequence[Entry], texts: Sequence[str], lease: int = 0, played: int = 0) -> Derived:
    """Tell what a journal says; entries must be whole, from the first.

    No entry tells a lease that wrote nothing, nor how far the code has got: the caller gives what is kept. Less than
    the journal proves is not believed, nor is more played than there was to hear: then everything is replayed.
    """
    lease = max(lease, *(entry.turn for entry in entries))
    live = load(entries[0].run, Loaded(lease, played, list(entries), list(texts)))
    if not 0 <= played <= live.heard:
        live.played = 0
    timers = {} if live.state.finished else dict(live.state.timers)
    layers = frozenset(layer for _, layer in live.state.layers)
    return Derived(row_of(entries[0], live.summary(), lease), timers, layers)
