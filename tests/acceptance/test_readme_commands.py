"""The README's commands, from an empty folder to a first passed run, exactly as written."""

from pathlib import Path

import pytest
from command_line import Terminal

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMANDS = README.split("<!-- first-run", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0].strip().splitlines()


def test_five_commands_lead_from_an_empty_folder_to_a_passed_run(tmp_path: Path) -> None:
    person = Terminal(tmp_path)
    folder = tmp_path / "project"
    folder.mkdir()
    up, *others = COMMANDS
    with person.server(up) as url:
        for line in others:
            done = person.run("/bin/sh", "-c", line, cwd=folder)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            assert "password" not in (done.stdout + done.stderr).lower()
        assert f"remote: stepwell: run #1 Checks → {url}/home/project/runs/1" in done.stderr
        followed = person.stepwell("logs", "--follow", cwd=folder)
        assert followed.returncode == 0, followed.stdout + followed.stderr
        assert "Hello, stepwell" in followed.stdout


@pytest.mark.parametrize("remotes", [{}, {"origin": "https://example.com/acme/api.git"}])
def test_init_leaves_what_is_there(tmp_path: Path, remotes: dict[str, str]) -> None:
    person = Terminal(tmp_path)
    folder = tmp_path / "My Project"
    (folder / ".stepwell").mkdir(parents=True)
    (folder / ".stepwell" / "pipeline.py").write_text("# mine\n")
    person.run("git", "init", "-q", "-b", "trunk", cwd=folder)
    for name, address in remotes.items():
        person.run("git", "remote", "add", name, address, cwd=folder)
    with person.server() as url:
        told = person.json("init", cwd=folder)
        again = person.json("init", cwd=folder)
    assert (folder / ".stepwell" / "pipeline.py").read_text() == "# mine\n"
    assert told == {
        "repository": "home/My-Project", "url": f"{url}/home/My-Project.git",
        "remote": "stepwell" if remotes else "origin", "created": True, "wrote_pipeline": False,
    }  # fmt: skip
    assert again == {**told, "created": False}
    for name, address in remotes.items():
        assert person.run("git", "remote", "get-url", name, cwd=folder).stdout.strip() == address
