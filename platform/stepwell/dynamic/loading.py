"""Routing a run back to its code: a loader that remembers what it has loaded."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from inspect import isawaitable
from typing import Any

from stepwell.engine.seams import Code, Loader
from stepwell.errors import Invalid

CACHED = 256
"""Codes kept; each is some files of text."""


def pin(files: Mapping[str, str], entry: str, *, root: str = "") -> Code:
    """Make Code whose digest is that of its content: other files or another entry are other code. Raises Invalid.

    `root` is put before the files' names where they are shown: "acme/greet" makes "acme/greet/pipeline.py", line 7.
    """
    code = Code("", files, entry, root)  # refuses what is no text
    for path in files:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise Invalid(f"Code has a file {path!r}. Write a path inside of the code, like 'steps/mail.py'.")
    module = entry.partition(":")[0]
    if module not in files or not module.endswith(".py") or module.startswith("."):
        modules = [repr(path) for path in files if path.endswith(".py") and not path.startswith(".")]
        raise Invalid(
            f"The entry {entry!r} names no module of this code; its modules are: {', '.join(modules) or 'none'}. "
            "Write one of them, with its class if it has several: 'pipeline.py:Ship'."
        )
    content = json.dumps([entry, dict(files)], sort_keys=True).encode()
    return replace(code, digest=hashlib.sha256(content).hexdigest())


def route(load: Callable[[Mapping[str, Any]], Awaitable[Code]], cached: int = CACHED) -> Loader:
    """Make a Loader of `load`: equal metadata are loaded once, also when asked for at the same time.

    What fails is not remembered. Raise TryLater in `load` to be asked again after that time, NotFound when the code is
    lost; both become the run's reason. The engine checks the digest, so a stale answer cannot run other code.
    """
    known: OrderedDict[str, Code] = OrderedDict()
    loading: dict[str, asyncio.Task[Code]] = {}

    if not callable(load):
        raise Invalid(
            f"The loader has value {load!r}. Write `async def load(metadata):`, and return pin(files, entry)."
        )

    async def loader(metadata: Mapping[str, Any]) -> Code:
        key = json.dumps(metadata, sort_keys=True)
        code = known.get(key)
        if code is not None:
            known.move_to_end(key)
            return code
        task = loading.get(key)
        if task is None:
            # A copy: what the loader changes in its argument is not the run's metadata.
            task = loading[key] = asyncio.ensure_future(_asked(load, json.loads(key)))
            task.add_done_callback(lambda _: loading.pop(key, None))
        # Shielded: one run that gives up must not take the answer from the others.
        code = await asyncio.shield(task)
        known[key] = code
        while len(known) > cached:
            known.popitem(last=False)
        return code

    return loader


async def _asked(load: Callable[[Mapping[str, Any]], Awaitable[Code]], metadata: Mapping[str, Any]) -> Code:
    answer = load(metadata)
    if not isawaitable(answer):
        given = type(answer).__name__
        raise Invalid(f"The loader gave {given} where something to await belongs. Write `async def load(metadata):`.")
    return await answer
