from dataclasses import replace

from fixture_runs import NASTY, NOW, SOURCE, busy_run, step, summary

from stepwell_web import sourceview

FILES = {"pipeline.py": SOURCE, "lib/versions.py": "A = 1\n"}


def test_a_place_leads_to_its_line() -> None:
    run = summary()
    assert sourceview.href(run, "pipeline.py:18") == f"{run.url}/source?file=pipeline.py#L18"
    assert sourceview.href(run, ".stepwell/lib/a b.py:2") == f"{run.url}/source?file=lib/a%20b.py#L2"
    assert sourceview.href(run, "") == sourceview.href(run, "nowhere") == ""


def test_lines_keep_their_numbers_and_their_text() -> None:
    page = sourceview.page(busy_run(), FILES, "", NOW)
    assert page is not None
    assert (page.file, page.left) == ("pipeline.py", 0)
    assert [line.number for line in page.lines] == list(range(1, SOURCE.count("\n") + 1))
    assert page.lines[0].html.striptags() == "from asyncio import gather"


def test_a_string_over_several_lines_is_coloured_on_each() -> None:
    lines = sourceview.coloured("a.py", 'x = """one\ntwo\n"""\ny = 1\n')
    assert [("py-s" in line) for line in lines] == [True, True, True, False]


def test_what_others_wrote_is_escaped_in_every_file() -> None:
    for name in ("a.py", "notes.txt"):
        (line,) = sourceview.coloured(name, f"# {NASTY}\n")
        assert "<script" not in line
        assert "&lt;script&gt;" in line


def test_a_long_file_is_shown_without_colours_and_in_part() -> None:
    page = sourceview.page(busy_run(), {"pipeline.py": "x = 1\n" * 12_000}, "", NOW)
    assert page is not None
    assert (len(page.lines), page.left) == (5000, 7000)
    assert "<span" not in page.lines[0].html


def test_a_line_tells_what_became_of_its_steps() -> None:
    page = sourceview.page(busy_run(), FILES, "", NOW)
    assert page is not None
    chips = {line.number: line.chips for line in page.lines if line.chips}
    assert [(chip.label, chip.state, chip.time) for chip in chips[16]] == [("install", "passed", "18s")]
    assert [(chip.label, chip.state) for chip in chips[18]] == [("unit × 4", "failed")]
    assert chips[18][0].href.endswith("?step=unit-3.13")


def test_many_steps_of_one_line_with_names_of_their_own_are_counted() -> None:
    view = busy_run()
    steps = tuple(step(name, "passed", 0, 1, where="pipeline.py:3") for name in ("a", "b", "c", "d"))
    page = sourceview.page(replace(view, steps=steps), FILES, "pipeline.py", NOW)
    assert page is not None
    assert [chip.label for chip in page.lines[2].chips] == ["4 steps"]


def test_the_line_of_the_error_is_marked() -> None:
    error = {"type": "SyntaxError", "message": "", "traceback": "", "file": ".stepwell/pipeline.py", "line": "3"}
    page = sourceview.page(replace(busy_run(), error=error), FILES, "", NOW)
    assert page is not None
    assert [line.number for line in page.lines if line.wrong] == [3]


def test_a_file_that_is_not_there_is_none() -> None:
    assert sourceview.page(busy_run(), FILES, "../../etc/passwd", NOW) is None
