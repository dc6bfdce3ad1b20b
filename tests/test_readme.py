"""The README says what is there: settings, commands, tables, files."""

import re
from pathlib import Path

import typer

from stepwell.cli.main import app
from stepwell.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def _rows(heading: str) -> dict[str, list[str]]:
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in cells[2:]}


def test_every_setting_is_in_the_table_with_its_words_and_default() -> None:
    rows = _rows("Settings")
    assert set(rows) == {f"`STEPWELL_{name.upper()}`" for name in Settings.model_fields}
    for name, setting in Settings.model_fields.items():
        default, words = rows[f"`STEPWELL_{name.upper()}`"]
        assert words == setting.description
        if setting.default_factory is None:
            shown = "" if setting.default in (None, "") else f"`{str(setting.default).lower()}`"
            assert default == shown, name


def test_every_command_is_in_the_table() -> None:
    commands = typer.main.get_command(app)
    assert set(_rows("Commands")) == {f"`stepwell {name}`" for name in commands.commands}  # type: ignore[attr-defined]


def test_import_table_names_the_packages_that_are_held_to_it() -> None:
    named = set(re.findall(r"`(stepwell[\w.]*)`", "\n".join(_rows("Architecture"))))
    assert {
        "stepwell.engine",
        "stepwell.dynamic",
        "stepwell.ci",
        "stepwell_runners",
        "stepwell_web",
        "stepwell.cli",
    } <= named
    for name in named:
        root = {"stepwell_runners": "runners", "stepwell_web": "web"}.get(name, "platform")
        assert (ROOT / root / name.replace(".", "/")).is_dir(), name


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target and not target.endswith(".png"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_first_run_takes_at_most_five_commands() -> None:
    assert 1 <= len(first_run()) <= 5


def first_run() -> list[str]:
    """The commands from an empty folder to a first passed run, as written."""
    block = README.split("<!-- first-run", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    return [line for line in block.splitlines() if line.strip()]


def test_pipeline_of_the_first_screen_is_a_pipeline(tmp_path: Path) -> None:
    from stepwell.cli.check import describe

    code = README.split("```python\n", 1)[1].split("```", 1)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / ".stepwell").mkdir()
    (tmp_path / ".stepwell" / "pipeline.py").write_text(code)
    found = describe(tmp_path)
    assert found.error is None, found.error
    assert [one["name"] for one in found.pipelines] == ["Ship"]


def test_every_permission_of_the_container_has_its_reason() -> None:
    lines = (ROOT / "compose.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\s+- (SYS_|NET_|seccomp|systempaths|apparmor)", line):
            assert lines[number - 1].strip().startswith("#"), line


def test_base_of_the_image_is_an_argument() -> None:
    assert re.search(r"^ARG BASE=\S+\nFROM \$\{BASE\}$", (ROOT / "Dockerfile").read_text(), re.M)
