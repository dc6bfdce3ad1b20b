"""`stepwell retention`: which runs the server would remove by its settings. Removes nothing itself."""

import time
from collections import Counter
from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.errors import Unavailable


def retention(
    days: Annotated[
        float | None, typer.Option(help="Instead of STEPWELL_KEEP_RUNS_DAYS.", min=0.0, max=36_500.0)
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Instead of STEPWELL_KEEP_RUNS.", min=1)] = None,
    json: JsonFlag = False,
) -> None:
    """Show which runs are kept no longer, by the settings or by what is said here. Nothing is removed by it.

    The server removes such runs by itself, some each minute. Reads the state directory; the server may be running.
    """
    from stepwell.ci.retention import Aged, Policy
    from stepwell.cli.compose import settings_with
    from stepwell.store.store import Store

    settings = settings_with(keep_runs_days=days, keep_runs=keep)
    if not settings.database.exists():
        raise Unavailable(f"There is no database {settings.database}. Set STEPWELL_STATE to the server's directory.")
    store = Store(settings.database)
    try:
        policy = Policy.of(settings)
        found = list(Aged(store, policy).all(time.time()))
    finally:
        store.close()
    if json:
        runs = [
            {"id": run.id, "repository": run.scope, "number": run.number, "ended_at": run.ended_at} for run in found
        ]
        show_json({"days": policy.days, "newest": policy.newest, "runs": runs})
        return
    entries: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {}
    for run in found:
        numbers.setdefault(run.scope, []).append(run.number)
        entries[run.scope] += run.entries
    if found:
        rows = (
            (scope, str(len(of)), f"#{min(of)}" if len(of) == 1 else f"#{min(of)} to #{max(of)}", f"{entries[scope]:,}")
            for scope, of in sorted(numbers.items())
        )
        show_table(("REPOSITORY", "RUNS", "NUMBERS", "ENTRIES"), rows)
    say(
        f"Runs that ended more than {policy.days:g} days ago and would go: {len(found):,}. "
        f"The newest {policy.newest} of each repository stay."
    )
