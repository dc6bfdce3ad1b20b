"""`stepwell diff` and `stepwell shell` against a real server: what they say of each kind of step."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import BIN, Terminal

PIPELINE = """
from stepwell import Pipeline, StepFailed, push

class Moments(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("make", "mkdir -p src/deep none; echo a > src/a; echo b > src/deep/b; "
                       "ln -s /bin/sh tool; truncate -s 3G holes")
        await step.run("replace", "rm -rf src; echo f > src")
        await step.run("many", "mkdir many; cd many; seq 6001 | xargs touch")
        await step.run("drops", "echo x > dropped", keep=False)
        try:
            await step.run("fails", "echo x > dropped; exit 3")
        except StepFailed:
            pass
        await step.promote("stable", "refs/heads/stable")
        await step.run("long", "echo begun; sleep 600")
"""


@pytest.fixture(scope="module")
def project(person: Terminal) -> Iterator[Path]:
    """A repository with a run whose last step runs."""
    folder = person.home / "shop"
    (folder / ".stepwell").mkdir(parents=True)
    (folder / ".stepwell" / "pipeline.py").write_text(PIPELINE)
    person.json("init", cwd=folder)
    for words in (["add", "."], ["commit", "-q", "-m", "Moments"], ["push", "-q"]):
        done = person.run("git", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    command = [str(BIN / "stepwell"), "logs", "1", "--follow"]
    with subprocess.Popen(command, cwd=folder, env=person.environment, text=True, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        said = []
        for line in following.stdout:
            said.append(line)
            if line.endswith(" begun\n"):
                break
        following.terminate()
    assert "made refs/heads/stable at " in "".join(said)
    yield folder
    person.json("terminate", "1", cwd=folder)


def test_a_step_that_is_not_over_left_nothing_yet(person: Terminal, project: Path) -> None:
    for command in (["diff", "1", "long"], ["shell", "1", "long", "-c", "ls"]):
        refused = person.stepwell(*command, cwd=project)
        assert refused.returncode == 2 and "'long' is running, not over" in refused.stderr, refused
        assert refused.stdout == ""
    before = person.stepwell("shell", "1", "long", "--before", "-c", "ls", cwd=project)
    assert before.returncode == 0 and "many" in before.stdout.split()


@pytest.mark.parametrize(("step", "why"), [("drops", "It has keep=False"), ("fails", "It failed")])
def test_a_step_of_which_nothing_was_kept_says_so(person: Terminal, project: Path, step: str, why: str) -> None:
    told = person.stepwell("diff", "1", step, cwd=project)
    assert (told.returncode, told.stderr) == (0, f"{why}, so what it wrote was not kept.\n")
    shell = person.stepwell("shell", "1", step, "-c", "ls", cwd=project)
    assert f"{why}, so what it wrote was not kept. These are the files that it stood on." in shell.stderr
    assert "dropped" not in shell.stdout.split() and "src" in shell.stdout.split()


def test_a_diff_is_whole_or_says_that_it_is_not(person: Terminal, project: Path) -> None:
    paths = [one["path"] for one in person.json("diff", "1", "replace", cwd=project)["items"]]
    assert paths == ["src", "src/a", "src/deep/b"]
    many = person.json("diff", "1", "many", cwd=project)
    assert (len(many["items"]), many["total"], many["more"]) == (5000, 6001, 1001)
    assert "These are 5,000 of 6,001 changes." in person.stepwell("diff", "1", "many", cwd=project).stderr
    assert "+ none/" in person.stepwell("diff", "1", "make", cwd=project).stdout


def test_a_copy_has_holes_and_programs_and_says_what_it_has_not(person: Terminal, project: Path) -> None:
    look = "./tool -c 'stat -c %b,%s holes'; ls -A"
    shell = person.stepwell("shell", "1", "make", "-c", look, cwd=project)
    assert "of #1, without .git; it goes when you leave." in shell.stderr
    blocks, _, size = next(line for line in shell.stdout.splitlines() if "," in line and line[0].isdigit()).partition(
        ","
    )
    assert (int(blocks) < 100, int(size)) == (True, 3 << 30)
    assert "Left out" not in shell.stderr and ".git" not in shell.stdout.split()
