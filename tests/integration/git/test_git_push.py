"""Pushes with a stock client: hooks, refusals, races, broken connections."""

import asyncio
import contextlib
import gzip
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from stepwell.errors import Denied
from stepwell.repos import NO_COMMIT, PushContext, RefUpdate
from stepwell.repos.pktline import FLUSH, encode
from stepwell.repos.wire import WireLimits


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def leftovers(origin: Path) -> list[str]:
    return [str(path) for path in origin.rglob("*") if "tmp_" in path.name or path.name.endswith(".lock")]


def git_children() -> list[str]:
    """Return the command lines of receive-pack processes below this one that are alive."""
    lines = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile, or dead and not yet waited for
            lines.append(" ".join(child.cmdline()))
    return [line for line in lines if "receive-pack" in line]


def test_handler_sees_the_push_before_and_after(server: Any, client: Any) -> None:
    sha = client.commit()
    output = client.run("push", "-o", "ci.skip", "-o", "", "-o", "two words $HOME", server.url(), "main")
    assert "remote: stepwell: run #12 Ship → http://127.0.0.1/acme/api/runs/12" in output
    (before, pre, pre_updates), (after, post, post_updates) = server.handler.calls
    assert (before, after) == ("pre", "post")
    assert pre_updates == post_updates == [RefUpdate(NO_COMMIT, sha, "refs/heads/main")]
    assert (pre.repository, pre.tenant, pre.name, pre.actor) == ("repo1", "acme", "api", "owner")
    assert pre.options == post.options == ("ci.skip", "", "two words $HOME")
    assert pre.push == post.push
    assert pre.quarantine is not None
    assert post.quarantine is None


def test_refusal_is_shown_and_nothing_moves(server: Any, client: Any) -> None:
    async def decide(context: PushContext, updates: list[RefUpdate]) -> str | None:
        return "Branch main is protected.\nPush to another one.\x1b[31m"

    server.handler.decide = decide
    client.commit()
    output = client.run("push", server.url(), "main", fails=True)
    assert "remote: Branch main is protected." in output
    assert "remote: Push to another one.?[31m" in output
    assert "pre-receive hook declined" in output
    assert [call[0] for call in server.handler.calls] == ["pre"]
    assert server.repositories.reader("repo1").branches() == {}
    assert not leftovers(server.origin)
    assert not [path for path in (server.origin / "objects").rglob("*") if path.is_file()]


def test_error_of_the_handler_refuses(server: Any, client: Any) -> None:
    async def denied(context: PushContext, updates: list[RefUpdate]) -> str | None:
        raise Denied("Your role is viewer.")

    async def broken(context: PushContext, updates: list[RefUpdate]) -> str | None:
        raise ZeroDivisionError

    client.commit()
    server.handler.decide = denied
    assert "remote: Your role is viewer." in client.run("push", server.url(), "main", fails=True)
    server.handler.decide = broken
    assert "nothing was changed" in client.run("push", server.url(), "main", fails=True)
    assert server.repositories.reader("repo1").branches() == {}


def test_error_after_the_push_leaves_it_accepted(server: Any, client: Any) -> None:
    async def follow(context: PushContext, updates: list[RefUpdate]) -> list[str]:
        raise ZeroDivisionError

    server.handler.follow = follow
    sha = client.commit()
    assert "its runs start shortly" in client.run("push", server.url(), "main")
    assert server.repositories.reader("repo1").resolve("main") == sha


def test_new_commit_can_be_read_before_it_is_accepted(server: Any, client: Any) -> None:
    seen = {}

    async def decide(context: PushContext, updates: list[RefUpdate]) -> str | None:
        assert context.quarantine
        with server.repositories.quarantined(context.repository, context.quarantine) as reader:
            new = updates[0].new
            seen["files"] = await asyncio.to_thread(reader.read_files, new)
            seen["forward"] = (
                await asyncio.to_thread(reader.is_ancestor, updates[0].old, new)
                if updates[0].old != NO_COMMIT
                else None
            )
            seen["outside"] = server.repositories.reader(context.repository).resolve(new)
        return None

    server.handler.decide = decide
    client.commit(files={".stepwell/pipeline.py": "one = 1"})
    client.run("push", server.url(), "main")
    assert seen == {"files": {"pipeline.py": "one = 1"}, "forward": None, "outside": None}
    client.commit(files={".stepwell/pipeline.py": "two = 2"})
    client.run("push", server.url(), "main")
    assert seen == {"files": {"pipeline.py": "two = 2"}, "forward": True, "outside": None}


def test_deleting_and_forcing_are_told_apart(server: Any, client: Any) -> None:
    first = client.commit()
    client.run("push", server.url(), "main", "main:topic")
    client.run("commit", "-q", "--amend", "-m", "other words")
    second = client.run("rev-parse", "HEAD")
    client.run("push", "-f", server.url(), "main", ":topic")
    updates = {update.ref: update for update in server.handler.calls[-1][2]}
    assert updates["refs/heads/main"] == RefUpdate(first, second, "refs/heads/main")
    assert updates["refs/heads/topic"].deleted


def test_ref_that_git_refuses_is_not_reported_as_moved(server: Any, client: Any) -> None:
    client.commit()
    client.run("push", server.url(), "main")
    client.commit("second")
    client.run("push", server.url(), "main:topic", ":main", fails=True)  # the default branch cannot be deleted
    phase, _, updates = server.handler.calls[-1]
    assert (phase, [update.ref for update in updates]) == ("post", ["refs/heads/topic"])


def test_tree_with_a_git_folder_is_refused(server: Any, client: Any) -> None:
    client.commit()
    blob = client.run("rev-parse", "HEAD:file.txt")
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        cwd=client.folder,
        env=client.env,
        input=b"100644 .git\0" + bytes.fromhex(blob),
        capture_output=True,
        check=True,
    )
    tree = made.stdout.decode().strip()
    commit = client.run("commit-tree", "-m", "bad", tree)
    output = client.run("push", server.url(), f"{commit}:refs/heads/bad", fails=True)
    assert "hasDotgit" in output
    assert server.handler.calls == []


def test_one_of_eight_pushes_of_a_branch_wins(server: Any, make_client: Any) -> None:
    clients = [make_client(f"client{number}") for number in range(8)]
    shas = [each.commit(f"from {number}") for number, each in enumerate(clients)]
    pushes = [each.start("push", server.url(), "main") for each in clients]
    codes = [push.wait(60) for push in pushes]
    assert codes.count(0) == 1
    winner = shas[codes.index(0)]
    assert server.repositories.reader("repo1").resolve("main") == winner
    posts = [call for call in server.handler.calls if call[0] == "post"]
    assert [update.new for _, _, updates in posts for update in updates] == [winner]


def test_client_that_dies_while_sending_leaves_nothing(server: Any, client: Any) -> None:
    (client.folder / "large.bin").write_bytes(os.urandom(2_000_000))
    sha = client.commit()
    made = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "-q"],
        cwd=client.folder,
        env=client.env,
        input=sha.encode(),
        capture_output=True,
        check=True,
    )
    command = f"{NO_COMMIT} {sha} refs/heads/main\0 report-status".encode()
    body = encode(command) + FLUSH + made.stdout
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(
            b"POST /acme/api.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
            b"Authorization: Basic c29tZW9uZTpvd25lci10b2tlbg==\r\n"
            b"Content-Type: application/x-git-receive-pack-request\r\n\r\n" % len(body)
        )
        wire.sendall(body[: len(body) // 2])
        until(lambda: any("incoming" in name for name in leftovers(server.origin)), "the pack arrives")
    until(lambda: not git_children(), "git has ended")
    assert not leftovers(server.origin)
    assert server.handler.calls == []
    assert server.repositories.reader("repo1").branches() == {}
    client.run("push", server.url(), "main")


def test_push_is_finished_when_the_client_leaves_after_sending_all(server: Any, client: Any) -> None:
    asked, go = threading.Event(), threading.Event()

    async def decide(context: PushContext, updates: list[RefUpdate]) -> str | None:
        asked.set()
        await asyncio.to_thread(go.wait, 20)
        return None

    server.handler.decide = decide
    sha = client.commit()
    push = client.start("push", server.url(), "main")
    assert asked.wait(60)
    for process in [*psutil.Process(push.pid).children(recursive=True), psutil.Process(push.pid)]:
        process.kill()
    push.wait()
    go.set()
    until(lambda: [call[0] for call in server.handler.calls] == ["pre", "post"], "both hooks were served")
    assert server.repositories.reader("repo1").resolve("main") == sha
    until(lambda: not git_children(), "git has ended")


@pytest.mark.timeout(300)
def test_large_push_keeps_the_memory_flat(server: Any, client: Any) -> None:
    client.commit()
    client.run("push", server.url(), "main")
    for number in range(5):
        (client.folder / f"large{number}.bin").write_bytes(os.urandom(10_000_000))
    sha = client.commit()
    me = psutil.Process()
    highest = before = me.memory_info().rss
    push = client.start("push", server.url(), "main")
    while push.poll() is None:
        highest = max(highest, me.memory_info().rss)
        time.sleep(0.01)
    assert push.returncode == 0
    assert server.repositories.reader("repo1").resolve("main") == sha
    assert highest - before < 15_000_000


def test_pack_over_the_limit_is_refused_in_words(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits(pack_bytes=1_000_000))
    (client.folder / "large.bin").write_bytes(os.urandom(1_500_000))
    client.commit()
    assert "exceeds maximum allowed size" in client.run("push", server.url(), "main", fails=True)
    assert server.repositories.reader("repo1").branches() == {}
    assert not leftovers(server.origin)


def request(server: Any, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    made = urllib.request.Request(server.url(token=None) + "/git-receive-pack", body, method="POST")
    made.add_header("Authorization", "Basic c29tZW9uZTpvd25lci10b2tlbg==")
    made.add_header("Content-Type", "application/x-git-receive-pack-request")
    for name, value in headers.items():
        made.add_header(name, value)
    try:
        with urllib.request.urlopen(made, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_compressed_bomb_is_cut_at_the_limit(make_server: Any) -> None:
    server = make_server(WireLimits(pack_bytes=1_000_000))
    status, words = request(server, gzip.compress(b"\0" * 50_000_000), {"Content-Encoding": "gzip"})
    assert (status, "Push in smaller parts" in words) == (413, True)
    until(lambda: not git_children(), "git has ended")


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"0000" * 100)[:-9]], ids=["no gzip", "cut"])
def test_broken_compression_is_refused(server: Any, body: bytes) -> None:
    status, words = request(server, body, {"Content-Encoding": "gzip"})
    assert (status, "gzip" in words) == (400, True)


def test_other_types_and_encodings_are_refused(server: Any) -> None:
    assert request(server, b"0000", {"Content-Type": "text/plain"})[0] == 415
    assert request(server, b"0000", {"Content-Encoding": "br"})[0] == 415
    assert request(server, b"0000", {})[0] == 200


def test_client_that_stops_sending_is_cut(make_server: Any) -> None:
    server = make_server(WireLimits(idle_s=0.2))
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(
            b"POST /acme/api.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Authorization: Basic c29tZW9uZTpvd25lci10b2tlbg==\r\n"
            b"Content-Type: application/x-git-receive-pack-request\r\n\r\n0000"
        )
        wire.settimeout(20)
        assert b" 408 " in wire.recv(4096).split(b"\r\n")[0]
    until(lambda: not git_children(), "git has ended")


def test_lock_left_by_a_crash_does_not_block_the_branch(server: Any, client: Any) -> None:
    client.commit()
    lock = server.origin / "refs" / "heads" / "main.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    half = server.origin / "objects" / "tmp_objdir-incoming-abc"
    half.mkdir()
    os.utime(half, (1, 1))
    client.run("push", server.url(), "main")
    assert not leftovers(server.origin)


def test_hooks_start_no_interpreter_and_no_other_program(server: Any, client: Any) -> None:
    seen: list[list[str]] = []

    async def decide(context: PushContext, updates: list[RefUpdate]) -> str | None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
                seen.append(child.cmdline())
        return None

    server.handler.decide = decide
    client.commit()
    client.run("push", server.url(), "main")
    ours = [command for command in seen if str(server.state) in " ".join(command)]
    hooks = [command for command in ours if any("pre-receive" in part for part in command)]
    assert [command[0] for command in hooks] == ["/bin/sh"]
    assert not any("python" in part for command in ours for part in command[:1])
