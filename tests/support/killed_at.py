"""`stepwell`, ended by SIGKILL where it is about to call a function: the first that the file KILLED_AT names then.

Run by tests: `python killed_at.py up`. Functions are named `module:Class.method` or `module:function`.
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def watch(name: str, order: Path) -> None:
    """Have this process end before a call of a function once the file says its name."""
    module, _, path = name.partition(":")
    *above, last = path.split(".")
    owner = functools.reduce(getattr, above, importlib.import_module(module))
    call: Callable[..., Any] = getattr(owner, last)

    @functools.wraps(call)
    def watched(*arguments: Any, **more: Any) -> Any:
        if order.exists() and order.read_text() == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **more)

    setattr(owner, last, watched)


def main(names: Sequence[str], order: Path) -> None:
    """Watch the functions and be `stepwell`."""
    for name in names:
        watch(name, order)
    from stepwell.cli.main import main as stepwell

    stepwell()


if __name__ == "__main__":
    main(os.environ["KILLED_AT_ANY"].split(), Path(os.environ["KILLED_AT"]))
    sys.exit(0)
