"""The web over the real product: a push, its run through the API, live streams that resume."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import TENANT, LiveServer, commit_all, git, wait_until, write_pipeline

PIPELINE = '''
from stepwell import Pipeline, manual, push


class Ship(Pipeline):
    """Say things, wait, say more."""

    on = [push(), manual(target=["staging", "production"], note="none")]

    async def run(self, event, step):
        await step.run("talk", "echo one; echo two; printf three")
        await step.wait_for_event("go", type="go")
        await step.run("slow", "for i in 1 2 3 4 5; do echo line $i; until test -e SEEN/$i; do sleep 0.02; done; done")
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("web") / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    yield live
    live.stop()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is pushed; its last step waits for a file beside it after each line."""
    return tmp_path_factory.mktemp("tree")


@pytest.fixture(scope="module")
def waiting(server: LiveServer, tree: Path) -> str:
    """Id of a run that waits for its event."""
    write_pipeline(tree, PIPELINE.replace("SEEN", str(tree)))
    commit_all(tree, "Say <things>")
    git("push", server.create_repository("talk"), "HEAD:main", cwd=tree)
    run: str = server.runs("talk")[0]["id"]
    server.wait_for_state(run, {"waiting"})
    return run


def events(text: str) -> list[tuple[str, str, str]]:
    """(name, id, data) of each event in a stream's text."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":")]
        fields = dict(lines)
        if "event" in fields:
            found.append((fields["event"], fields.get("id", ""), "\n".join(v for k, v in lines if k == "data")))
    return found


def read_stream(server: LiveServer, path: str, until: str, **headers: str) -> list[tuple[str, str, str]]:
    """Read a stream until an event's name or text appears."""
    text = ""
    all_headers = {"Authorization": f"Bearer {server.token}", **headers}
    with httpx.stream("GET", f"{server.url}{path}", headers=all_headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for chunk in answer.iter_text():
            text += chunk
            if until in text:
                break
    return events(text)


def test_a_run_is_told_in_full(server: LiveServer, waiting: str) -> None:
    view = server.api("GET", f"/runs/{waiting}")
    assert view["summary"]["title"] == "Say <things>"
    assert [(s["name"], s["state"]) for s in view["steps"]] == [("talk", "passed"), ("go", "waiting")]
    assert view["steps"][1]["needs"] == ["talk#1"]
    url = f"{server.url}{view['summary']['url']}?step=talk"
    page = httpx.get(url, headers=told_by(server), timeout=60).text
    assert "Say &lt;things&gt;" in page and "two" in page
    log = server.api("GET", f"/runs/{waiting}/steps/talk%231/log", params={"format": "json"})
    assert [line["text"] for line in log["items"]] == ["one", "two", "three"]
    assert log["finished"]


def test_the_journal_streams_from_any_entry_on(server: LiveServer, waiting: str) -> None:
    count = server.api("GET", f"/runs/{waiting}")["summary"]["seq"]
    whole = read_stream(server, f"/api/v1/runs/{waiting}/stream", f"id: {count}\n")
    assert [int(id) for _, id, _ in whole] == list(range(1, count + 1))
    rest = read_stream(server, f"/api/v1/runs/{waiting}/stream", f"id: {count}\n", **{"Last-Event-ID": "2"})
    assert [int(id) for _, id, _ in rest] == list(range(3, count + 1))
    assert json.loads(whole[0][2])["type"] == "created"


def test_a_log_streams_from_any_byte_on(server: LiveServer, waiting: str) -> None:
    path = f"/api/v1/runs/{waiting}/steps/talk%231/log/stream"
    whole = read_stream(server, path, "event: over")
    assert "".join(json.loads(d)["text"] for n, _, d in whole if n == "log") == "one\ntwo\nthree"
    rest = read_stream(server, path, "event: over", **{"Last-Event-ID": "4"})
    assert "".join(json.loads(d)["text"] for n, _, d in rest if n == "log") == "two\nthree"


def test_each_line_arrives_before_the_next_and_the_stream_ends_with_the_run(
    server: LiveServer, waiting: str, tree: Path
) -> None:
    stream = f"/{TENANT}/talk/runs/1/stream?step=slow&attempt=1&seq=0"
    server.api("POST", f"/runs/{waiting}/events", json={"type": "go"})
    wait_until(lambda: len(server.api("GET", f"/runs/{waiting}")["steps"]) == 3, 60, "third step")
    text = ""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.stream("GET", f"{server.url}{stream}", headers=headers, timeout=60) as answer:
        for chunk in answer.iter_text():
            text += chunk
            for number in re.findall(r"line (\d)", text):
                (tree / number).touch()
    assert [name for name, _, _ in events(text)][-1] == "over"
    log = server.api("GET", f"/runs/{waiting}/steps/slow%231/log", params={"format": "json"})["items"]
    assert [one["text"] for one in log] == [f"line {n}" for n in range(1, 6)]


@pytest.mark.parametrize(("query", "headers"), [("?since=before", {}), ("", {"Last-Event-ID": "before"})])
def test_who_has_missed_news_of_lists_is_told_at_once(
    server: LiveServer, waiting: str, query: str, headers: dict[str, str]
) -> None:
    ((name, told, _),) = read_stream(server, f"/api/v1/stream{query}", "event: changed", **headers)
    assert (name, bool(told)) == ("changed", True)


def test_a_stranger_gets_no_stream(server: LiveServer, waiting: str) -> None:
    for path in (f"/api/v1/runs/{waiting}/stream", "/api/v1/stream", f"/{TENANT}/talk/runs/1/stream"):
        assert httpx.get(f"{server.url}{path}", headers=WRONG, timeout=60).status_code == 401


def test_a_hundred_viewers_are_served_side_by_side(server: LiveServer, waiting: str) -> None:
    got: list[int] = []

    def view() -> None:
        got.append(len(read_stream(server, f"/api/v1/runs/{waiting}/stream", "event: over")))

    threads = [threading.Thread(target=view) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 100 and len(set(got)) == 1


def test_a_run_is_started_once_per_idempotency_key(server: LiveServer, waiting: str) -> None:
    body = {"pipeline": "Ship", "inputs": {"target": "staging"}}
    headers = {"Authorization": f"Bearer {server.token}", "Idempotency-Key": "same"}
    numbers = {
        httpx.post(f"{server.url}/api/v1/repos/{TENANT}/talk/runs", json=body, headers=headers, timeout=60).json()[
            "number"
        ]
        for _ in range(3)
    }
    assert len(numbers) == 1
    other = {**body, "inputs": {"target": "production"}}
    refused = httpx.post(f"{server.url}/api/v1/repos/{TENANT}/talk/runs", json=other, headers=headers, timeout=60)
    assert refused.status_code == 422
    told = f"The key was sent before with another request, which is run #{numbers.pop()}. Use a new key."
    assert refused.json()["detail"] == told


def test_the_form_of_a_pipeline_offers_its_choices(server: LiveServer, waiting: str) -> None:
    page = httpx.get(f"{server.url}/{TENANT}/talk", headers=told_by(server), timeout=60).text
    assert '<select name="input.target"' in page and "<option" in page and "Start Ship" in page


def test_the_list_of_runs_has_pages(server: LiveServer, waiting: str) -> None:
    first = server.api("GET", "/runs", params={"tenant": TENANT, "limit": 1})
    second = server.api("GET", "/runs", params={"tenant": TENANT, "limit": 1, "cursor": first["next"]})
    assert first["items"][0]["id"] != second["items"][0]["id"]


WRONG = {"Authorization": "Bearer sw_wrong"}
HUGE = ("9" * 30, str(2**63), "-" + "9" * 30)


def test_a_line_is_found_in_the_logs_of_all_runs(server: LiveServer, waiting: str) -> None:
    found = server.api("GET", "/logs", params={"tenant": TENANT, "repository": "talk", "q": "THREE"})
    assert (found["next"], found["cut"]) == (None, [])
    assert waiting in [one["run"]["id"] for one in found["items"]]
    one = next(one for one in found["items"] if one["run"]["id"] == waiting)
    number, (log,) = one["run"]["number"], one["logs"]
    address = f"/{TENANT}/talk/runs/{number}?step=talk&attempt=1&from=3#talk:3"
    assert (log["key"], log["attempt"], log["count"]) == ("talk#1", 1, 1)
    assert log["lines"] == [{"number": 3, "text": "three", "url": address}]
    assert server.api("GET", "/logs", params={"q": "nobody has said so"})["items"] == []
    headers = {"Authorization": f"Bearer {server.token}"}
    page = httpx.get(f"{server.url}/{TENANT}/talk/logs?q=three", headers=headers, timeout=60).text
    assert f'href="{address.replace("&", "&amp;")}"' in page


@pytest.mark.parametrize("number", HUGE)
def test_a_number_that_no_table_has_is_no_mistake_of_ours(server: LiveServer, waiting: str, number: str) -> None:
    pages = [f"/{TENANT}/talk/runs/{number}{tab}" for tab in ("", "/journal", "/stream", "/tests")]
    for place in (*pages, f"/api/v1/repos/{TENANT}/talk/runs/{number}"):
        assert asked(server, place).status_code == 404, place
    for place in (f"runs/{waiting}/journal?after=", f"runs/{waiting}/steps/talk%231/log?offset="):
        told = asked(server, f"/api/v1/{place}{number}")
        assert told.status_code == 422 and told.json()["detail"].startswith(("after: ", "offset: ")), told.text
    assert asked(server, f"/{TENANT}/-/audit?before={number}").status_code == 422


def test_a_stream_of_a_step_that_is_not_there_is_not_found(server: LiveServer, waiting: str) -> None:
    told = asked(server, f"/api/v1/runs/{waiting}/steps/none%231/log/stream")
    assert told.status_code == 404 and told.json()["detail"].endswith("has no step 'none#1'.")


@pytest.mark.parametrize("odd", ["²", "9" * 40, "a:b", "9" * 40 + ":1"])
def test_a_place_that_no_stream_has_named_is_as_none(server: LiveServer, waiting: str, odd: str) -> None:
    headers = httpx.Headers({**told_by(server), "Last-Event-ID": odd}, encoding="latin1")
    with httpx.stream("GET", f"{server.url}/api/v1/runs/{waiting}/stream", headers=headers, timeout=60) as answer:
        assert answer.status_code == 200 and '"seq":1,' in next(line for line in answer.iter_lines() if "data:" in line)


def test_half_a_character_is_refused_or_told_as_it_came(server: LiveServer, waiting: str) -> None:
    half = {"Content-Type": "application/json"} | told_by(server)
    place = f"{server.url}/api/v1/repos/{TENANT}/talk"
    refused = httpx.patch(place, content=r'{"description": "\ud800"}', headers=half, timeout=60)
    assert refused.status_code == 422 and "half a character" in refused.json()["detail"]
    run = server.api("POST", f"/repos/{TENANT}/talk/runs", json={"inputs": {"target": "staging"}})["id"]
    server.wait_for_state(run, {"waiting"})
    sent = httpx.post(
        f"{server.url}/api/v1/runs/{run}/events",
        content=r'{"type": "odd", "payload": "\ud800"}',
        headers=half,
        timeout=60,
    )
    assert sent.status_code == 202, sent.text
    entries = asked(server, f"/api/v1/runs/{run}/journal").json()["items"]
    assert [one["data"]["payload"] for one in entries if one["data"] and one["data"].get("type") == "odd"] == ["\ud800"]
    assert asked(server, f"/api/v1/runs/{run}").status_code == 200
    server.api("POST", f"/runs/{run}/terminate")


def test_the_server_bounds_the_heads_of_requests(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as large:
        large.sendall(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 65536)
        assert b"The head of the request is larger than 65536 bytes." in large.recv(65536)


def told_by(server: LiveServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}


def asked(server: LiveServer, place: str) -> httpx.Response:
    return httpx.get(server.url + place, headers=told_by(server), timeout=60)
