"""May a run be played here, and with which code: asked before each turn, and before the first attempt of a step."""

import asyncio
import platform
from collections.abc import Mapping
from typing import Any

from stepwell.authoring.version import REPLAYS
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.seams import Code, Loader
from stepwell.engine.specs import Limits
from stepwell.errors import NotFound, StepwellError, TryLater, Unavailable


def check_replay(live: Live) -> None:
    """Refuse to play what was begun under rules that are not known here: it would diverge or, worse, not be noticed."""
    if live.state.replay not in REPLAYS:
        raise Unavailable(
            f"This run was begun with version {live.state.replay} of the replay; this Stepwell plays "
            f"{', '.join(map(str, sorted(REPLAYS)))}. Nothing is lost: start the Stepwell that began it, or cancel it."
        )


def other_python(python: str) -> str:
    """Say so when a run was begun under another Python, which may be why it asks otherwise now."""
    here = platform.python_version()
    if not python or python.split(".")[:2] == here.split(".")[:2]:
        return ""
    return f" The run was begun under Python {python}; this server has {here}."


async def load_code(live: Live, parts: Parts) -> Code:
    """Ask the loader for the run's code and check that it is what the run was created with."""
    state = live.state
    try:
        code = await ask(parts.loader, state.metadata, parts.limits)
    except StepwellError:
        raise
    except Exception as error:  # a loader is the embedder's code: its mistake must not lose the run
        message = f"The code of this run could not be loaded: {type(error).__name__}: {error}; asked again."
        raise TryLater(message, parts.limits.again) from error
    if state.code and code.digest != state.code:
        raise NotFound(
            f"The code of this run has changed: it was created with {state.code!r}, the loader now gives "
            f"{code.digest!r}. Bring the old code back, or cancel the run."
        )
    return code


async def ask(loader: Loader, metadata: Mapping[str, Any], limits: Limits) -> Code:
    """Ask a loader, within the bounds. Raises TryLater when it is slow or gives no code, else what it raises."""
    try:
        async with asyncio.timeout(limits.loading) as bound:
            code = await loader(metadata)
    except TimeoutError as error:
        if not bound.expired():
            raise
        message = f"The code of this run is not there after {limits.loading:g} s; it has to be asked for again."
        raise TryLater(message, limits.again) from error
    if not isinstance(code, Code):
        message = (
            f"The loader gave {type(code).__name__} for this run where Code belongs; it has to be asked again. "
            "Have it return Code, as pin(files, entry) makes it."
        )
        raise TryLater(message, limits.again)
    return code
