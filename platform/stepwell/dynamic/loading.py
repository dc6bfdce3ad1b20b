"""Routing a run back to its code: a loader that remembers what it has loaded."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stepwell.engine.seams import Code, Loader

CACHED = 256
"""Codes kept; each is some files of text."""


def pin(files: Mapping[str, str], entry: str) -> Code:
    """Make Code whose digest is that of its content: other files or another entry are other code."""
    content = json.dumps([entry, dict(files)], sort_keys=True).encode()
    return Code(hashlib.sha256(content).hexdigest(), files, entry)


def route(load: Callable[[Mapping[str, Any]], Awaitable[Code]], cached: int = CACHED) -> Loader:
    """Make a Loader of `load`: equal metadata are loaded once, also when asked for at the same time.

    What fails is not remembered. Raise TryLater in `load` to be asked again after that time, NotFound when the code is
    lost; both become the run's reason. The engine checks the digest, so a stale answer cannot run other code.
    """
    known: OrderedDict[str, Code] = OrderedDict()
    loading: dict[str, asyncio.Task[Code]] = {}

    async def loader(metadata: Mapping[str, Any]) -> Code:
        key = json.dumps(metadata, sort_keys=True)
        code = known.get(key)
        if code is not None:
            known.move_to_end(key)
            return code
        task = loading.get(key)
        if task is None:
            # A copy: what the loader changes in its argument is not the run's metadata.
            task = loading[key] = asyncio.ensure_future(load(json.loads(key)))
            task.add_done_callback(lambda _: loading.pop(key, None))
        # Shielded: one run that gives up must not take the answer from the others.
        code = await asyncio.shield(task)
        known[key] = code
        while len(known) > cached:
            known.popitem(last=False)
        return code

    return loader
