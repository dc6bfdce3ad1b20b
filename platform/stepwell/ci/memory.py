"""The memory of a server that runs for months, where the C library is glibc; others are left as they are.

What waiting runs cost must be seen, and not be hidden by what a busy hour has left behind.
"""

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def share_one_arena() -> None:
    """Have all threads allocate from one arena. Call before there are threads.

    glibc gives each of our twenty threads an arena of its own, and each keeps what its busiest moment took in pieces:
    under the interpreter's lock they would hardly ever have met in one.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def freeze() -> None:
    """Have no collection look at what is there now: modules and routes, which stay for good."""
    gc.collect()
    gc.freeze()


def give_back_memory() -> None:
    """Collect garbage and return freed memory to the host.

    Python looks through everything only when a quarter of it is new, which takes minutes. glibc keeps what threads
    have freed. After a thousand runs that now only wait, both together held 5 kB a run.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
