"""What is kept beside the journals, lost or wrong: named, mended from the journals, and runs go on."""

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from engines import FakeExecutor, Workshop, passed

from stepwell.cli.doctor_entries import show_entries
from stepwell.cli.doctor_journal import look_at_journal
from stepwell.cli.lock import StateLock
from stepwell.engine.order import Order
from stepwell.engine.rebuild import Rebuild, Report
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, NotFound, Unavailable
from stepwell.settings import Settings
from stepwell.store.derived import COLUMNS
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.packed import unpack

DERIVED = ("runs", "timers", "run_layers", "numbers", "queues")
ROWS = {
    "runs": f"SELECT {', '.join(COLUMNS)} FROM runs",
    "timers": "SELECT id, key, due FROM timers JOIN runs ON serial = run",
}
"""What is read otherwise: a run's serial number may be another one afterwards."""
ASK = """
built = await step.run("build", "built")
said = await step.approval("ship", environment="production")
return said.by
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    """A database with a run that asks, one that sleeps and one that has passed, in this order."""
    shop = Workshop(tmp_path)
    async with shop.running(executor=FakeExecutor(built=passed("layer-1"))):
        await shop.create(ASK, "asks")
        await shop.create('await step.sleep("long", 3600)\nreturn "slept"', "sleeps")
        await shop.create('return await step.do("give", give, 7)', "passed")
        await shop.hibernating("asks")
        await shop.hibernating("sleeps")
        await shop.finished("passed")
    yield shop
    await shop.isolates.close()


def look(shop: Workshop, *, mend: bool = False) -> Report:
    journal = shop.journal()
    journal.open()
    with closing(journal):
        return Rebuild(SqliteTables(journal), mend=mend).run()


def change(shop: Workshop, *statements: str) -> None:
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def dump(shop: Workshop) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(shop.database)) as db:
        return {table: sorted(db.execute(ROWS.get(table, f"SELECT * FROM {table}")).fetchall()) for table in DERIVED}


def approved(run: RunState, step: StepState) -> Literal["approved"]:
    return "approved"


async def test_what_the_engine_keeps_is_what_its_journals_say(shop: Workshop) -> None:
    report = look(shop)
    assert (report.runs, report.wrong, report.told, report.damaged) == (3, 0, [], [])
    assert report.entries > 6


async def test_emptied_tables_come_back_and_runs_go_on(shop: Workshop) -> None:
    before = dump(shop)
    change(shop, *(f"DELETE FROM {table}" for table in DERIVED))
    assert look(shop, mend=True).wrong == 4, "three runs and a last number"
    after = dump(shop)
    assert [after[table] for table in DERIVED[1:]] == [before[table] for table in DERIVED[1:]]
    assert look(shop).wrong == 0
    executor = FakeExecutor(built=passed("layer-2"))
    async with shop.running(executor=executor):
        await shop.hibernating("sleeps")
        await shop.hibernating("asks")
        assert executor.in_use is not None and executor.in_use("layer-1")
        await shop.engine.decide("asks", "ship#1", {"by": "ann", "approve": True}, approved)
        assert (await shop.finished("asks")).result == "ann"
        assert executor.attempts == [], "a step that was done ran again"
        await shop.create("return 1", "fourth")
        assert (await shop.finished("fourth")).number == 4
    assert look(shop).wrong == 0


WRONG = {
    "tenant": "'other'", "scope": "'t/other'", "number": "9", "title": "'x'", "state": "'passed'", "reason": "'why'",
    "created_at": "1.0", "started_at": "NULL", "ended_at": "5.0", "updated_at": "1.0", "seq": "99", "approvals": "0",
    "awake": "1 - awake", "metadata": "'{}'", "summary": "'no JSON'", "lease": "0", "played": "99",
}  # fmt: skip


async def test_each_wrong_column_is_named_and_mended(shop: Workshop) -> None:
    for column, value in WRONG.items():
        change(shop, f"UPDATE runs SET {column} = {value} WHERE id = 'asks'")
        report = look(shop)
        assert (report.wrong, {one.run for one in report.told}) == (1, {"asks"}), column
        assert column in {one.what for one in report.told}
        look(shop, mend=True)
        assert look(shop).told == []


async def test_wrong_timers_and_layers_are_named_and_mended(shop: Workshop) -> None:
    before = dump(shop)
    change(
        shop,
        "UPDATE timers SET due = 1.0 WHERE run = (SELECT serial FROM runs WHERE id = 'sleeps')",
        "INSERT INTO timers SELECT serial, 'x#1', 2.0 FROM runs WHERE id = 'passed'",
        "INSERT INTO run_layers VALUES('layer-0', 'passed')",
        "DELETE FROM run_layers WHERE run = 'asks'",
    )
    told = [(one.run, one.what) for one in look(shop, mend=True).told]
    assert told == [
        ("asks", "layer layer-1"), ("passed", "timer x#1"), ("passed", "layer layer-0"), ("sleeps", "timer long#1"),
    ]  # fmt: skip
    after = dump(shop)
    assert (after["timers"], after["run_layers"]) == (before["timers"], before["run_layers"])


async def test_queues_of_groups_come_back_in_their_order(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor()):
        for run in "abc":
            await shop.create('return await step.wait_for_event("w", type="go")', run, order=Order("ship"))
        await shop.create("return 1", "later", order=Order("ship", start_at=time.time() + 3600))
        await shop.hibernating("a")
        await shop.until(lambda state: not shop.engine.holds("c"), "c")
    assert look(shop).told == []
    before = dump(shop)["queues"]
    change(shop, *(f"DELETE FROM {table}" for table in DERIVED))
    report = look(shop, mend=True)
    assert any("queue" in str(one) for one in report.told)
    assert dump(shop)["queues"] == before
    assert look(shop).told == []
    async with shop.running(executor=FakeExecutor()) as engine:
        for before_it, run in ("ab", "bc"):
            await engine.send_event(before_it, "go", 1)
            await shop.hibernating(run)
        assert (await shop.until(lambda state: True, "later")).state == "queued"


async def test_a_held_run_that_nobody_would_look_at_is_found_and_let_go(shop: Workshop) -> None:
    async with shop.running(executor=FakeExecutor()):
        await shop.create('return await step.wait_for_event("w", type="go")', "a", order=Order("ship"))
        await shop.create("return 1", "b", order=Order("ship"))
        await shop.hibernating("a")
        created_at = (await shop.until(lambda state: not shop.engine.holds("b"), "b")).created_at
    change(shop, "DELETE FROM queues WHERE run = 'a'")
    said = [str(one) for one in look(shop, mend=True).told]
    assert said == [
        """queue ["group", "t", "t/x", "ship"] is ['b'], the journal says ['a', 'b']""",
        f"run b: timer admit is None, the journal says {created_at}",
    ]
    assert look(shop).told == []


async def test_rows_without_a_journal_are_removed(shop: Workshop) -> None:
    change(
        shop,
        "UPDATE runs SET id = 'ghost', number = 77 WHERE id = 'passed'",
        "INSERT INTO run_layers VALUES('layer-0', 'nobody')",
    )
    report = look(shop, mend=True)
    assert [str(one) for one in report.told] == [
        "run passed: its row is missing",
        "run ghost: there are rows of it, but no journal",
        "run nobody: there are rows of it, but no journal",
    ]
    assert {row[0] for row in dump(shop)["runs"]} == {"asks", "passed", "sleeps"}
    assert look(shop).wrong == 0


async def test_swapped_numbers_are_put_right(shop: Workshop) -> None:
    change(
        shop,
        "UPDATE runs SET number = 90 WHERE id = 'asks'",
        "UPDATE runs SET number = 1 WHERE id = 'sleeps'",
        "UPDATE runs SET number = 2 WHERE id = 'asks'",
    )
    look(shop, mend=True)
    assert {row[0]: row[3] for row in dump(shop)["runs"]} == {"asks": 1, "sleeps": 2, "passed": 3}


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM journal WHERE run = 'asks' AND seq = 2", "entry 2 is missing"),
        ("DELETE FROM journal WHERE run = 'asks' AND seq = 1", "begins with"),
        ("UPDATE journal SET data = '{' WHERE run = 'asks' AND seq = 2", "cannot be read"),
        ("UPDATE journal SET type = 'flown' WHERE run = 'asks' AND seq = 2", "flown"),
        ('UPDATE journal SET data = \'{"scope":"t/x","number":1}\' WHERE run = \'sleeps\' AND seq = 1', "KeyError"),
    ],
)
async def test_a_damaged_journal_is_named_and_left_alone(shop: Workshop, statement: str, why: str) -> None:
    change(shop, statement, "UPDATE runs SET state = 'passed' WHERE id IN ('asks', 'sleeps', 'passed')")
    before = dump(shop)
    report = look(shop, mend=True)
    (damaged,) = report.damaged
    assert why in str(damaged)
    assert [row for row in dump(shop)["runs"] if row[0] == damaged.run] == [
        row for row in before["runs"] if row[0] == damaged.run
    ]


async def test_two_journals_with_one_number_are_named_not_merged(shop: Workshop) -> None:
    change(shop, "DELETE FROM runs WHERE id = 'passed'")
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        (kept,) = db.execute("SELECT data FROM journal WHERE run = 'passed' AND seq = 1").fetchone()
        told = unpack(kept).replace('"number":3', '"number":1')
        db.execute("UPDATE journal SET data = ? WHERE run = 'passed' AND seq = 1", (told,))
    report = look(shop, mend=True)
    assert [one.run for one in report.damaged] == ["passed"]
    assert "is that of run 'asks' as well" in report.damaged[0].why


async def test_the_command_ends_with_what_it_found(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state=shop.database.parent)
    shop.database.rename(settings.database)
    shop.database = settings.database
    assert look_at_journal(settings, mend=False, json=False) == 0
    change(shop, "DELETE FROM runs WHERE id = 'asks'")
    assert look_at_journal(settings, mend=False, json=False) == 1
    assert "run asks: its row is missing" in capsys.readouterr().err
    with StateLock(settings.state):
        with pytest.raises(Conflict, match="must be alone"):
            look_at_journal(settings, mend=True, json=False)
        assert look_at_journal(settings, mend=False, json=True) == 1
    assert '"differences": [' in capsys.readouterr().out
    assert look_at_journal(settings, mend=True, json=False) == 0
    assert look_at_journal(settings, mend=False, json=False) == 0


async def test_a_journal_is_printed_from_the_file_an_entry_a_line(
    shop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(state=tmp_path)
    shop.database.rename(settings.database)
    assert show_entries(settings, "t/x#1", json=False) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    (asked,) = [line for line in lines if (line["type"], line["key"]) == ("asked", "ship#1")]
    assert asked["data"]["options"]["environment"] == "production", "packed on disk, but not here"
    with closing(sqlite3.connect(settings.database, isolation_level=None)) as db:
        db.execute("UPDATE journal SET data = x'7F07' WHERE run = 'asks' AND seq = 2")
    assert show_entries(settings, "asks", json=True) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown[1]["data"] == "7f07" and "not known here" in shown[1]["unreadable"]
    assert shown[0]["data"]["number"] == 1, "the others are shown all the same"
    with pytest.raises(NotFound, match="t/x#99"):
        show_entries(settings, "t/x#99", json=False)


def test_without_a_database_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="STEPWELL_STATE"):
        look_at_journal(Settings(state=tmp_path / "none"), mend=False, json=False)
    with pytest.raises(Unavailable, match="STEPWELL_STATE"):
        show_entries(Settings(state=tmp_path / "none"), "r", json=False)
