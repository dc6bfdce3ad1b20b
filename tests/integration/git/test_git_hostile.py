"""Pushes that mean harm: what they unpack to is bounded, what git refuses is explained, and the server goes on."""

import os
import subprocess
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import psutil
import pytest
from bombs import MEBI, delta_bomb, entry, packed, zeros

from stepwell.repos.common_memory import CommonMemory, family
from stepwell.repos.wire import WireLimits

MEMORY = WireLimits(memory_bytes=128 * MEBI)


def huge(kind: str) -> list[bytes]:
    return [entry(kind, zeros(300 * MEBI), 300 * MEBI)]


def small(count: int) -> list[bytes]:
    """So many more that git indexes the pack instead of unpacking it."""
    blobs = [str(number).encode() for number in range(count)]
    return [entry("blob", zlib.compress(blob), len(blob)) for blob in blobs]


def send(server: Any, pack: bytes, new: str = "1" * 40) -> str:
    """Push a pack as no client would make it; what is shown to the pusher."""
    command = f"{'0' * 40} {new} refs/heads/x\0report-status side-band-64k\n".encode()
    body = b"%04x" % (len(command) + 4) + command + b"0000" + pack
    made = urllib.request.Request(server.url(token=None) + "/git-receive-pack", body, method="POST")
    made.add_header("Authorization", "Basic c29tZW9uZTpvd25lci10b2tlbg==")
    made.add_header("Content-Type", "application/x-git-receive-pack-request")
    with urllib.request.urlopen(made, timeout=120) as answer:
        return str(answer.read().decode("utf-8", "replace"))


def still_serves(server: Any, client: Any) -> None:
    sha = client.commit("after it all")
    client.run("push", server.url(), "main")
    assert server.repositories.reader("repo1").resolve("main") == sha
    assert not [path for path in (server.origin / "objects").rglob("tmp_*") if path.is_dir() or path.is_file()]


@pytest.mark.parametrize("more", [0, 200], ids=["unpacked", "indexed"])
@pytest.mark.parametrize("bomb", ["delta", "tree", "commit"])
def test_a_pack_that_needs_more_memory_than_git_is_given_is_refused_in_words(
    make_server: Any, client: Any, bomb: str, more: int
) -> None:
    server = make_server(MEMORY)
    told = send(server, packed([*(delta_bomb() if bomb == "delta" else huge(bomb)), *small(more)]))
    assert "stepwell: taking this push in needs more memory than git is given here: 128 MiB" in told, told
    assert told.index("stepwell: ") < told.index("abnormal exit") and "STEPWELL_GIT_MEMORY_MB" in told
    still_serves(server, client)


def test_a_large_file_needs_no_memory(make_server: Any, client: Any) -> None:
    server = make_server(MEMORY)
    with (client.folder / "large.bin").open("wb") as file:
        file.truncate(200 * MEBI)
    sha = client.commit()
    client.run("push", server.url(), "main")
    assert server.repositories.reader("repo1").resolve("main") == sha


def test_a_client_is_told_what_was_too_much_and_what_to_do(make_server: Any, client: Any) -> None:
    server = make_server(MEMORY)
    client.commit()
    with (client.folder / "words").open("wb") as file:
        for _ in range(150):
            file.write(b"a" * MEBI)
    client.run("commit", "-q", "--allow-empty", "-F", "words", "--cleanup=verbatim")
    told = client.run("push", server.url(), "main", fails=True)
    assert "remote: stepwell: taking this push in needs more memory than git is given here" in told
    assert server.repositories.reader("repo1").branches() == {}


def test_git_is_bounded_in_all_that_it_starts_and_goes_before_the_server(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits(memory_bytes=512 * MEBI, processor_s=77))
    seen: list[tuple[Any, ...]] = []

    async def decide(context: Any, updates: Any) -> None:
        for child in psutil.Process().children(recursive=True):
            if str(server.state) in " ".join(child.cmdline()):
                limits = (psutil.RLIMIT_DATA, psutil.RLIMIT_CPU, psutil.RLIMIT_CORE)
                seen.append((*(child.rlimit(which)[1] for which in limits), oom(child.pid)))

    server.handler.decide = decide
    client.commit()
    client.run("push", server.url(), "main")
    assert len(seen) >= 2 and set(seen) == {(512 * MEBI, 77, 0, 900)}, "git and its hook"
    assert oom(psutil.Process().pid) < 900


def test_git_and_what_it_starts_are_under_the_common_bound(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits())
    seen: list[str] = []
    server.wire.memory = memory = CommonMemory(1 << 40)

    async def decide(context: Any, updates: Any) -> None:
        seen.extend(psutil.Process(pid).name() for leader in memory.leaders() for pid in family(leader))
        assert memory.look() is None

    server.handler.decide = decide
    client.commit()
    client.run("push", server.url(), "main")
    assert "git" in seen and len(seen) >= 2, "git and its hook"


def oom(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def made(client: Any, content: bytes, *command: str) -> str:
    """Have git make an object of this; its id."""
    asked = ["git", *command]
    done = subprocess.run(asked, input=content, cwd=client.folder, env=client.env, capture_output=True, check=True)
    return done.stdout.decode().strip()


SPELLINGS = [".git", ".GIT", ".gIt", "git~1", ".git ", ".git.", ".g\u200cit", ".git::$INDEX_ALLOCATION", ".."]


def hostile_commit(client: Any, name: str) -> tuple[str, str]:
    """Commit a tree with a name that git itself would never write; tree and commit."""
    client.commit()
    blob = client.run("hash-object", "-w", "file.txt")
    listed = f"100644 blob {blob}\t{name}\n".encode()
    tree = made(client, listed, "mktree")
    return tree, client.run("commit-tree", "-m", "hostile", tree)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_path_that_git_refuses_is_named_with_what_to_do(server: Any, client: Any, name: str) -> None:
    tree, commit = hostile_commit(client, name)
    told = client.run("push", server.url(), f"{commit}:refs/heads/main", fails=True)
    assert f"remote: stepwell: directory {tree[:10]} has an entry that would be written into .git" in told, told
    assert f"git rev-list --objects --all | grep {tree}" in told and "git filter-repo" in told
    assert tree in client.run("rev-list", "--objects", commit)
    assert server.repositories.reader("repo1").branches() == {}


def test_another_object_that_git_refuses_is_named_too(server: Any, client: Any) -> None:
    client.commit()
    tree = client.run("rev-parse", "HEAD^{tree}")
    text = f"tree {tree}\nauthor a <a@b> 1 +0000\ncommitter\n\nx\n".encode()
    id_ = made(client, text, "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
    told = client.run("push", server.url(), f"{id_}:refs/heads/main", fails=True)
    assert f"remote: stepwell: object {id_[:10]} is not as git writes one" in told and f"git show {id_}" in told


def test_a_pack_over_the_limit_comes_with_a_way_to_push_it(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits(pack_bytes=100_000))
    (client.folder / "noise").write_bytes(os.urandom(200_000))
    client.commit()
    told = client.run("push", server.url(), "main", fails=True)
    assert "remote: stepwell: push in smaller parts" in told, told
