"""`stepwell registry` against a real server."""

import json
from pathlib import Path

from command_line import Terminal


def test_credentials_of_registries_are_listed_without_passwords_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    person = Terminal(tmp_path / "person")
    with person.server():
        _try(person, tmp_path)


def _try(person: Terminal, project: Path) -> None:
    host = "registry.example.org:5000"
    person.json("registry", "set", host, "--username", "robot", "--tenant", "home", cwd=project, input="a password\n")
    listed = person.json("registry", "list", "--tenant", "home", cwd=project)
    assert [(one["host"], one["username"]) for one in listed] == [(host, "robot")]
    assert "a password" not in json.dumps(listed)
    person.json("registry", "delete", host, "--tenant", "home", cwd=project)
    assert person.json("registry", "list", "--tenant", "home", cwd=project) == []
    empty = person.stepwell("registry", "set", host, "--username", "robot", "--tenant", "home", cwd=project, input="")
    assert (empty.returncode, f"No password for {host}" in empty.stderr) == (2, True)
