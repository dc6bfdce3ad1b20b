"""`stepwell retention`: which runs and artifacts the server would remove by its settings. Removes nothing itself."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.errors import Unavailable

if TYPE_CHECKING:
    from stepwell.ci.retention import Over, Policy


def retention(
    days: Annotated[
        float | None, typer.Option(help="Instead of STEPWELL_KEEP_RUNS_DAYS.", min=0.0, max=36_500.0)
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Instead of STEPWELL_KEEP_RUNS.", min=1)] = None,
    json: JsonFlag = False,
) -> None:
    """Show which runs are kept no longer, by the settings or by what is said here. Nothing is removed by it.

    And which artifacts go before their run: by the server's settings and those of repositories. The server removes both
    by itself, some each minute. Reads the state directory; the server may be running.
    """
    from stepwell.ci.expiring import may_expire, policy_of
    from stepwell.ci.retention import Aged, Policy
    from stepwell.cli.compose import settings_with
    from stepwell.store.blobs import BlobFiles
    from stepwell.store.store import Store

    settings = settings_with(keep_runs_days=days, keep_runs=keep)
    if not settings.database.exists():
        raise Unavailable(f"There is no database {settings.database}. Set STEPWELL_STATE to the server's directory.")
    store = Store(settings.database)
    try:
        policy = Policy.of(settings)
        found = list(Aged(store, policy).all(time.time()))
        early = policy_of(settings, store)
        blobs = BlobFiles(settings.state / "blobs")
        aged = Aged(store, early).all(time.time()) if early else ()
        emptied = [run for run in aged if may_expire(blobs, run)]
    finally:
        store.close()
    if json:
        show_json({
            "days": policy.days, "newest": policy.newest, "runs": _plain(found),
            "artifacts": {
                "days": settings.keep_artifacts_days, "repositories": dict(early.shorter) if early else {},
                "runs": _plain(emptied),
            },
        })  # fmt: skip
        return
    if found:
        show_table(("REPOSITORY", "RUNS", "NUMBERS", "ENTRIES"), _by_repository(found))
    say(
        f"Runs that ended more than {policy.days:g} days ago and would go: {len(found):,}. "
        f"The newest {policy.newest} of each repository stay."
    )
    _say_artifacts(settings.keep_artifacts_days, early, emptied)


def _say_artifacts(days: float | None, policy: "Policy | None", emptied: "Sequence[Over]") -> None:
    if policy is None:
        say("Artifacts are kept as long as their run.")
        return
    if policy.shorter:
        rows = ((scope, f"{policy.days_of(scope):g}") for scope in sorted(policy.shorter))
        show_table(("REPOSITORY", "DAYS OF ARTIFACTS"), rows)
    others = "as long as their run" if days is None else f"for {days:g} days after their run's end"
    say(f"{'Other artifacts' if policy.shorter else 'Artifacts'} are kept {others}.")
    say(f"Runs whose artifacts would go: {len(emptied):,}. Those of the newest run of each repository stay.")


def _plain(runs: "Sequence[Over]") -> list[dict[str, Any]]:
    return [{"id": run.id, "repository": run.scope, "number": run.number, "ended_at": run.ended_at} for run in runs]


def _by_repository(runs: "Sequence[Over]") -> Iterator[tuple[str, ...]]:
    entries: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {}
    for run in runs:
        numbers.setdefault(run.scope, []).append(run.number)
        entries[run.scope] += run.entries
    for scope, of in sorted(numbers.items()):
        told = f"#{min(of)}" if len(of) == 1 else f"#{min(of)} to #{max(of)}"
        yield scope, str(len(of)), told, f"{entries[scope]:,}"
