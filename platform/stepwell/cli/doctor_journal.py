"""`stepwell doctor --check-journal` and `--rebuild`: are rows, due times and layers what the journals say?"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from rich.progress import Progress

from stepwell.cli.lock import StateLock
from stepwell.cli.screen import console, say, show_json
from stepwell.engine.rebuild import Rebuild, Report
from stepwell.errors import Conflict, Unavailable
from stepwell.settings import Settings
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal_sqlite import SqliteJournal

SHOWN = 20
"""Differences that a person is shown; --json tells more of them."""


def look_at_journal(settings: Settings, *, mend: bool, json: bool) -> int:
    """Check, mend if asked to, tell; the exit code: 1 when something stays wrong."""
    if not settings.database.exists():
        raise Unavailable(f"There is no database {settings.database}. Set STEPWELL_STATE to the server's directory.")
    with _alone(settings) if mend else nullcontext():
        journal = SqliteJournal(settings.database)
        journal.open()
        with closing(journal):
            tables = SqliteTables(journal)
            faults = tables.faults()
            if not faults:
                with _progress(tables.estimate(), hidden=json) as progress:
                    report = Rebuild(tables, mend=mend, progress=progress).run()
    if faults:
        raise Unavailable(f"The database file itself is damaged: {faults[0]}. Restore a backup.")
    if json:
        show_json(_as_json(report))
    else:
        _tell(report)
    return int(bool(report.damaged) or (report.wrong > 0 and not mend))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    try:
        with StateLock(settings.state):
            yield
    except Conflict as error:
        raise Conflict(f"{error} A rebuild must be alone; --check-journal may look meanwhile.") from error


@contextmanager
def _progress(runs: int, *, hidden: bool) -> Iterator[Any]:
    with Progress(console=console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("journals", total=max(runs, 1))
        yield lambda report: bar.update(task, completed=report.runs, total=max(runs, report.runs))


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "runs": report.runs,
        "entries": report.entries,
        "wrong": report.wrong,
        "mended": report.mended,
        "differences": [asdict(one) for one in report.told],
        "damaged": [asdict(one) for one in report.damaged],
    }


def _tell(report: Report) -> None:
    for one in (*report.damaged[:SHOWN], *report.told[:SHOWN]):
        say(str(one), "red" if one in report.damaged else "yellow")
    if len(report.told) > SHOWN:
        say(f"… and more: --json tells {len(report.told)} of the differences.", "yellow")
    say(f"{report.runs:,} runs with {report.entries:,} journal entries were compared.")
    if report.damaged:
        say(f"{len(report.damaged)} journals are damaged. Their runs were left alone; restore a backup.", "bold red")
    if report.wrong and report.mended:
        say(f"{report.wrong:,} were wrong and are mended. Runs that go on are replayed at the next start.", "green")
    elif report.wrong:
        say(f"{report.wrong:,} differ. Stop the server and run: stepwell doctor --rebuild", "bold yellow")
    elif not report.damaged:
        say("Everything kept is what the journals say.", "green")
