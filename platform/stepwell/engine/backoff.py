"""How often a failed attempt of an executor's step is tried again, and when."""

import random
from collections.abc import Mapping
from typing import Any


def retry_delay(options: Mapping[str, Any], failures: int) -> float | None:
    """Seconds until the next attempt after so many failed ones, or None when that was the last.

    Reads the step's `retries` option: {"max", "delay", "backoff": "exponential" | "linear" | "constant", "cap",
    "jitter"} or a number of retries; absent means none. With jitter (0 to 1) each call gives another delay: journal it.
    """
    policy = options.get("retries") or 0
    if not isinstance(policy, Mapping):
        policy = {"max": policy}
    if failures > int(policy.get("max") or 0):
        return None
    delay, cap = float(policy.get("delay", 10)), float(policy.get("cap", 3600))
    backoff = policy.get("backoff", "exponential")
    if backoff == "exponential":
        delay *= 2 ** min(failures - 1, 60)
    elif backoff == "linear":
        delay *= failures
    jitter = float(policy.get("jitter") or 0)
    if jitter:
        delay *= random.uniform(1 - jitter, 1 + jitter)  # noqa: S311 - spreads load, keeps no secret
    return max(0.0, min(delay, cap))
