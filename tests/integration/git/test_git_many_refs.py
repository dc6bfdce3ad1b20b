"""Pushes of many refs at once, which are created and deleted together."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stepwell.repos.many_refs import MANY


def branches(number: int, prefix: str = "") -> list[str]:
    return [f"HEAD:refs/heads/{prefix}b{one}" for one in range(number)]


def refs_of(git: Any, *where: str) -> list[str]:
    """Return all refs and what tags stand for, as git tells them."""
    return sorted(line for line in git.run(*where, "show-ref", "-d").splitlines() if "refs/remotes/" not in line)


def loose(origin: Path) -> list[str]:
    return sorted(str(path.relative_to(origin)) for path in (origin / "refs").rglob("*") if not path.is_dir())


def test_a_mirrored_repository_has_every_ref_as_it_was(server: Any, client: Any) -> None:
    client.commit()
    for number in range(MANY):
        client.run("branch", f"feature/{number}/ä")
        client.run("tag", f"light-{number}")
        client.run("tag", "-m", "signed", f"full-{number}")
    client.run("tag", "-m", "a tag of a tag", "twice", "full-1")
    client.run("tag", "file", "HEAD:file.txt")
    client.run("push", "--mirror", server.url())
    assert refs_of(client, "--git-dir", str(server.origin)) == refs_of(client)
    assert loose(server.origin) == []
    (_, _, before), (_, _, after) = server.handler.calls
    assert before == after
    assert len(after) == 3 * MANY + 3
    client.run("--git-dir", str(server.origin), "fsck", "--strict")
    client.run("--git-dir", str(server.origin), "pack-refs", "--all")
    assert refs_of(client, "--git-dir", str(server.origin)) == refs_of(client)


def test_few_new_refs_are_left_to_git(server: Any, client: Any) -> None:
    client.commit()
    client.run("push", server.url(), *branches(MANY))
    assert len(loose(server.origin)) == MANY


def test_what_is_not_plain_is_decided_by_git_and_the_rest_goes_through(server: Any, client: Any) -> None:
    client.commit()
    client.run("tag", "-m", "signed", "v1")
    client.run("push", server.url(), "HEAD:refs/heads/there", "HEAD:refs/heads/moved")
    client.commit("second")
    odd = ("HEAD:refs/heads/there/below", "v1:refs/heads/of-a-tag", "HEAD:refs/heads/moved", "HEAD:refs/notes/x")
    both = ("HEAD:refs/heads/both", "HEAD:refs/heads/both/below")
    held = server.origin / "refs/heads/held.lock"
    held.touch()
    said = client.run("push", server.url(), *branches(MANY), *odd, *both, "HEAD:refs/heads/held", fails=True)
    refused = {line.split("->")[1].split()[0] for line in said.splitlines() if "rejected" in line}
    assert refused - {"both", "both/below"} == {"there/below", "of-a-tag", "held"}
    assert len(refused & {"both", "both/below"}) == 1
    held.unlink()
    known = server.repositories.reader("repo1").branches()
    assert set(known) == {"there", "moved", *(f"b{one}" for one in range(MANY))} | ({"both", "both/below"} - refused)
    assert known["moved"] == client.run("rev-parse", "HEAD")
    (_, _, after) = server.handler.calls[-1]
    assert {update.ref.removeprefix("refs/heads/") for update in after} == {*known, "refs/notes/x"} - {"there"}


def test_many_refs_are_deleted_together_and_what_is_not_plain_by_git(server: Any, client: Any) -> None:
    first = client.commit()
    names = [f"b{one}" for one in range(2 * MANY)]
    client.run("push", server.url(), "HEAD:refs/heads/main", *branches(2 * MANY), "HEAD:refs/heads/deep/er/one")
    client.run("push", server.url(), "HEAD:refs/heads/loose")
    assert loose(server.origin) == ["refs/heads/loose"]
    client.commit("second")
    client.run("push", server.url(), "HEAD:refs/heads/b0", "HEAD:refs/heads/b1")  # in a file, and packed as it was
    gone = [f":refs/heads/{name}" for name in ("main", "loose", "deep/er/one", "not-there", *names[2:])]
    expected = f"--force-with-lease=refs/heads/b1:{first}"
    said = client.run(
        "push", expected, server.url(), *gone, ":refs/heads/b0", ":refs/heads/b1", "HEAD:refs/heads/deep", fails=True
    )
    refused = {line.rpartition(" (")[0].split()[-1] for line in said.splitlines() if "rejected" in line}
    assert refused == {"main", "b1"}
    assert set(server.repositories.reader("repo1").branches()) == {"main", "b1", "deep"}
    assert all(line.split()[1] in {"refs/heads/main", "refs/heads/b1"} for line in packed(server.origin))
    (_, _, after) = server.handler.calls[-1]
    assert {update.ref for update in after if update.deleted} >= {
        f"refs/heads/{name}" for name in names if name != "b1"
    }


def packed(origin: Path) -> list[str]:
    lines = (origin / "packed-refs").read_text().splitlines()
    return [line for line in lines if not line.startswith(("#", "^"))]


def test_of_two_pushes_of_the_same_new_refs_each_ref_takes_one(server: Any, make_client: Any) -> None:
    clients = [make_client(name) for name in ("one", "two")]
    shas = [one.commit(f"of {number}") for number, one in enumerate(clients)]
    pushes = [one.start("push", server.url(), *branches(3 * MANY)) for one in clients]
    codes = [push.wait(60) for push in pushes]
    known = server.repositories.reader("repo1").branches()
    moved = [
        {update.ref[len("refs/heads/") :]: update.new for update in call[2]}
        for call in server.handler.calls
        if call[0] == "post"
    ]
    assert len(known) == 3 * MANY == sum(len(one) for one in moved)
    assert known == {ref: id_ for one in moved for ref, id_ in one.items()}
    assert set(known.values()) <= set(shas)
    assert all(codes) is (len(set(known.values())) == 2)
    assert [path for path in loose(server.origin) if path.endswith(".lock")] == []


def test_all_or_none_is_left_to_git(server: Any, client: Any) -> None:
    client.commit()
    client.run("push", server.url(), "HEAD:refs/heads/b7/below")
    client.run("push", "--atomic", server.url(), *branches(2 * MANY), fails=True)
    assert set(server.repositories.reader("repo1").branches()) == {"b7/below"}
    client.run("push", "--atomic", server.url(), *branches(2 * MANY, "other-"))
    assert len(server.repositories.reader("repo1").branches()) == 2 * MANY + 1


def test_where_files_have_one_name_only_each_lock_is_a_file(
    server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "links are not for this file system")

    monkeypatch.setattr(os, "link", refuse)
    client.commit()
    client.run("push", server.url(), *branches(MANY + 1))
    assert len(server.repositories.reader("repo1").branches()) == MANY + 1
    assert loose(server.origin) == []


def test_a_hook_that_cannot_pass_all_lines_on_refuses(server: Any, client: Any) -> None:
    script = server.state / "hooks" / "pre-receive"
    script.write_text(script.read_text().replace("tr '", "no-such-program '"))
    client.commit()
    client.run("push", server.url(), *branches(MANY + 1), fails=True)
    assert server.repositories.reader("repo1").branches() == {}
    assert subprocess.run(["git", "--git-dir", server.origin, "fsck"], check=False).returncode == 0
