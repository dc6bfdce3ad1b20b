"""When Python does not look for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python from looking for garbage while what stays is made: a long journal is read, modules are imported.

    There is hardly any then, and it would look at all of it again and again: of a journal that takes as long as the
    reading, of the modules of a server a sixth of its start.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
