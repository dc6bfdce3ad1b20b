"""Clone and fetch with a stock client."""

from typing import Any


def test_empty_repository_can_be_cloned(server: Any, client: Any) -> None:
    assert "empty repository" in client.run("clone", server.url(), "copy")


def test_clone_gives_what_was_pushed_with_protocol_2(server: Any, client: Any, make_client: Any) -> None:
    sha = client.commit()
    client.run("push", server.url(), "main")
    other = make_client("other")
    trace = other.run("clone", server.url(), "copy", env={"GIT_TRACE_PACKET": "1"})
    assert "version 2" in trace
    assert other.run("-C", "copy", "rev-parse", "HEAD") == sha


def test_oldest_protocol_still_works(server: Any, client: Any, make_client: Any) -> None:
    sha = client.commit()
    client.run("push", server.url(), "main")
    other = make_client("other")
    other.run("-c", "protocol.version=0", "clone", server.url(), "copy")
    assert other.run("-C", "copy", "rev-parse", "HEAD") == sha


def test_fetch_brings_only_what_is_new(server: Any, client: Any, make_client: Any) -> None:
    client.commit()
    client.run("push", server.url(), "main")
    other = make_client("other")
    other.run("clone", server.url(), "copy")
    second = client.commit("second")
    client.run("push", server.url(), "main")
    other.run("-C", "copy", "fetch", "origin")
    assert other.run("-C", "copy", "rev-parse", "origin/main") == second


def test_many_negotiation_lines_arrive_compressed(server: Any, client: Any, make_client: Any) -> None:
    client.commit()
    client.run("push", server.url(), "main")
    other = make_client("other")
    other.run("clone", server.url(), ".")
    for number in range(60):  # dated after what both have: git then names all of them before it
        date = f"2090-01-01T00:00:{number:02} +0000"
        other.commit(f"own {number}", env={"GIT_COMMITTER_DATE": date})
    second = client.commit("second")
    client.run("push", server.url(), "main")
    trace = other.run("fetch", "origin", env={"GIT_TRACE_CURL": "1"})
    assert "content-encoding: gzip" in trace.lower()
    assert other.run("rev-parse", "origin/main") == second


def test_shallow_and_partial_clones_work_and_can_push(server: Any, client: Any, make_client: Any) -> None:
    for number in range(3):
        client.commit(f"change {number}")
    client.run("push", server.url(), "main")
    other = make_client("other")
    other.run("clone", "--depth", "1", server.url(), ".")
    assert other.run("rev-list", "--count", "HEAD") == "1"
    pushed = other.commit("from a shallow clone")
    other.run("push", "origin", "main")
    assert server.repositories.reader("repo1").resolve("main") == pushed
    third = make_client("third")
    third.run("clone", "--filter=blob:none", "--no-checkout", server.url(), ".")
    assert "promisor" in third.run("config", "--list")


def test_pins_are_hidden_from_clients(server: Any, client: Any) -> None:
    from stepwell.repos.pins import pin

    sha = client.commit()
    client.run("push", server.url(), "main")
    pin(server.origin, sha)
    assert "refs/runs" not in client.run("ls-remote", server.url())
    client.run("push", server.url(), f"{sha}:refs/runs/mine", fails=True)


def test_address_without_ending_is_redirected(server: Any, client: Any) -> None:
    sha = client.commit()
    client.run("push", server.url("acme/api"), "main")
    assert sha in client.run("ls-remote", server.url("acme/api"))
