"""The README's commands, from an empty folder to a first passed run, exactly as written."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
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


def home_commands(person: Terminal, url: str) -> list[str]:
    """What the home of somebody who has no repository yet gives to be copied."""
    link = person.stepwell("signin").stdout.strip()
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=60) as web:
        web.post("/signin", data={"code": parse_qs(urlsplit(link).query)["code"][0]})
        page = web.get("/").text
    return [unescape(part.partition('"')[0]) for part in page.split('data-copy="')[1:]]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, list[str]]]:
    person = Terminal(tmp_path_factory.mktemp("newcomer"))
    with person.server() as url:
        yield person, home_commands(person, url)


@pytest.mark.parametrize(
    ("origin", "last"), [("", "git push"), ("https://example.com/acme/api.git", "git push stepwell HEAD")]
)
def test_the_commands_of_the_first_home_lead_to_a_run(
    newcomer: tuple[Terminal, list[str]], tmp_path: Path, origin: str, last: str
) -> None:
    person, (login, init, push, elsewhere) = newcomer
    assert (push.splitlines()[-1], elsewhere) == ("git push", "git push stepwell HEAD")
    token = person.json("token", "create", f"laptop {bool(origin)}")["secret"]
    folder = tmp_path / f"project-{bool(origin)}"
    folder.mkdir()
    if origin:
        person.run("git", "init", "-q", "-b", "main", cwd=folder)
        person.run("git", "remote", "add", "origin", origin, cwd=folder)
    laptop = Terminal(tmp_path)
    for line in (login, init, *push.splitlines()[:-1], last):
        done = laptop.run("/bin/sh", "-c", line, cwd=folder, input=f"{token}\n")
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    assert "remote: stepwell: run #1 Checks" in done.stderr
