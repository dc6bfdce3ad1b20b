"""What the server does about memory, seen in a process of its own."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, sys, threading
from stepwell.ci.memory import share_one_arena

if sys.argv[1] == "shared":
    share_one_arena()
library = ctypes.CDLL(None)  # its calls give up the interpreter's lock
library.malloc.argtypes, library.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait()
    for _ in range(100):
        library.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, out)
library.fflush(out)
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_threads_share_one_arena() -> None:
    assert arenas("each") > 1
    assert arenas("shared") == 1
