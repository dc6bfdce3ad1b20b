"""What the programs do to the world outside: each call leaves its label in a file, so repetitions can be counted."""

import asyncio


def effect(path, label, value=None):
    with open(path, "a") as file:
        file.write(label + "\n")
    return value


async def slow_effect(path, label, value=None):
    effect(path, label)
    await asyncio.sleep(0.003)
    return value


def fails(path, label, times=1_000_000, error=ValueError):
    """Fail so many times, counted over all lives of the host."""
    effect(path, label)
    with open(path) as file:
        if file.read().splitlines().count(label) <= times:
            raise error(f"{label} fails")
    return "at last"
