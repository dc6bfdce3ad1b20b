"""What was acknowledged is on disk: seen in the server's own calls to the kernel, and by refusing one of them.

A kill -9 cannot show this, since the kernel keeps what was written and not synced. Here the trace must show that the
entry's bytes went to the write-ahead log, that a sync of that file came back, and only then the answer left.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline
from syscalls import SENDS, Call, answer_to, kept_before, read, traced

pytestmark = [pytest.mark.root, pytest.mark.strace]
PIPELINE = """
from stepwell import Pipeline, manual

def inline():
    return "mark-of-" + "inline"

class Marked(Pipeline):
    on = [manual(mark="")]

    async def run(self, event, step):
        await step.wait_for_event("go", type="go")
        await step.approval("Go on?")
        await step.run("write", "date > file; echo out=$((40 + 2))-mark >> $STEPWELL_OUTPUT")
        return await step.do("inline", inline)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("durable") / "state")
    live.start()
    tree = tmp_path_factory.mktemp("author")
    write_pipeline(tree, PIPELINE)
    commit_all(tree, "marked")
    git("push", "-q", live.create_repository("marked"), "HEAD:main", cwd=tree)
    yield live
    live.stop()


@dataclass(frozen=True)
class Traced:
    """A run that was traced from its creation to its end, and the data of its entries as they lie on disk."""

    calls: list[Call]
    kept: dict[tuple[str, str], bytes]  # type and key of an entry → its data


@pytest.fixture(scope="module")
def run(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    trace = tmp_path_factory.mktemp("trace") / "trace"
    with traced(server.pid, trace):
        id = start(server, "mark-of-creation")
        server.api("POST", f"/runs/{id}/events", json={"type": "go", "payload": "mark-of-event"})
        server.wait_for_approval(id)
        server.approve(id, "mark-of-decision")
        server.wait_for_state(id, {"passed"})
    return Traced(read(trace.read_text()), kept_of(server, id))


def start(server: LiveServer, mark: str) -> str:
    return str(server.api("POST", "/repos/acme/marked/runs", json={"inputs": {"mark": mark}})["id"])


def kept_of(server: LiveServer, run: str) -> dict[tuple[str, str], bytes]:
    database = sqlite3.connect(f"file:{server.state}/stepwell.db?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT type, key, CAST(data AS BLOB) FROM journal WHERE run = ?", (run,)).fetchall()
    finally:
        database.close()
    return {(type, key): data for type, key, data in rows}


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        (("created", ""), b"mark-of-creation"),
        (("event", ""), b"mark-of-event"),
        (("decision", "Go on?#1"), b"mark-of-decision"),
        (("done", "inline#1"), b"mark-of-inline"),  # here the isolate asks, over its own socket
    ],
)
def test_entry_is_on_disk_before_the_answer_leaves(run: Traced, entry: tuple[str, str], asked: bytes) -> None:
    assert kept_before(run.calls, run.kept[entry], answer_to(run.calls, asked)) == ""


def test_result_of_a_command_is_on_disk_before_the_code_sees_it(run: Traced) -> None:
    told = next(call for call in run.calls if call.name in SENDS and b'"done","write#1"' in call.data)
    assert b"42-mark" in told.data
    assert kept_before(run.calls, run.kept["done", "write#1"], told) == ""


def test_layer_is_on_disk_before_the_entry_that_names_it(run: Traced) -> None:
    entry = next(call for call in run.calls if call.name == "pwrite64" and run.kept["done", "write#1"] in call.data)
    before = [call for call in run.calls if call.ended < entry.begun]
    moved = next(call for call in before if call.name == "rename" and b"/state/layers/" in call.data)
    synced = [call for call in before if call.name == "syncfs" and call.file.endswith("/layer") and call.result == 0]
    assert any(call.ended < moved.begun for call in synced), "the files were not synced before they were moved"
    folders = {Path(call.file).name for call in before if call.name == "fsync" and call.begun > moved.ended}
    assert "layers" in folders, f"only {folders} were synced after the move"


def test_a_sync_that_fails_is_not_acknowledged_and_leaves_nothing(server: LiveServer, tmp_path: Path) -> None:
    id = start(server, "")
    wait_until(lambda: server.state_of(id) == "waiting", 60, "a run that waits for an event")
    event = {"type": "go", "payload": "refused", "id": "once"}
    with traced(server.pid, tmp_path / "trace", "-e", "inject=fdatasync:error=EIO"):
        answer = httpx.post(
            f"{server.url}/api/v1/runs/{id}/events", json=event, timeout=60,
            headers={"Authorization": f"Bearer {server.token}"},
        )  # fmt: skip
    assert answer.status_code == 429, answer.text
    assert "The journal cannot be written: disk I/O error. Nothing is lost" in answer.text
    assert not server.query("SELECT 1 FROM journal WHERE run = ? AND type = 'event'", id)
    server.api("POST", f"/runs/{id}/events", json=event)
    server.wait_for_approval(id)
    assert server.query("SELECT count(*) FROM journal WHERE run = ? AND type = 'event'", id) == [(1,)]
