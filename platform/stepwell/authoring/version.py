"""The version of replay: how `run()` is played again from what its journal tells.

Raise REPLAY when the same code over the same journal could ask otherwise than before: another order of deliveries,
other keys or fingerprints, other values of `now`, `random` and `uuid`, another order in sets. A run goes on as it was
begun: what an older version did stays possible while runs wait on it, and branches on the version in the run's state.

2: branches that were cancelled with `run()` and still clean up when it is over are not cancelled once more.
3: `step.do` and Undo refuse a timeout of 0, which ended whatever had to wait; a step is refused as a condition, in a
comparison and in a `for` or unpacking; files of embedded code are shown by their own names, not below .stepwell/.
"""

REPLAY = 3
"""With which new runs are begun."""
REPLAYS = frozenset({1, 2, 3})
"""Those that can be played."""
