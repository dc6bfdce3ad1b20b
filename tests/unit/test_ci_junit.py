"""Reports of tests as different tools write them, and as nobody should."""

import io

import pytest

from stepwell.ci import junit
from stepwell.ci.junit import Case, Report, add_up, report_of_json

PYTEST = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" tests="99">
<testcase classname="tests.test_a" name="test_one" time="0.002"/>
<testcase classname="tests.test_a" name="test_two[&lt;b&gt;]" time="1.5" file="tests/test_a.py" line="7">
<failure message="assert 1 == 2">def test_two():
&gt;   assert 1 == 2</failure><system-out>noise</system-out></testcase>
<testcase classname="tests.test_a" name="test_three" time="nan"><skipped message="not here"/></testcase>
<testcase classname="tests.test_b" name="test_four" time="1,000.5"><error message="fixture">boom</error></testcase>
</testsuite></testsuites>"""
OTHERS = """<testsuite name="jest"><testcase name="adds"><failure><![CDATA[<expected>]]></failure></testcase>
<testsuite name="inner"><testcase name="x" line="-1"/><properties><testcase/></properties></testsuite></testsuite>"""


def read(*texts: str | bytes) -> Report:
    report = Report()
    for number, text in enumerate(texts):
        report.add(f"{number}.xml", io.BytesIO(text.encode() if isinstance(text, str) else text))
    return report


def test_cases_are_counted_and_failures_come_first() -> None:
    report = read(PYTEST, OTHERS)
    assert report.counts() == {
        "total": 7, "failed": 2, "error": 1, "skipped": 1, "passed": 3, "seconds": 1002.002, "problems": 0,
    }  # fmt: skip
    again = report_of_json(report.as_json())
    assert again.cases[0] == Case(
        "tests.test_a", "test_two[<b>]", "failed", 1.5, "assert 1 == 2", "def test_two():\n>   assert 1 == 2",
        "tests/test_a.py", 7,
    )  # fmt: skip
    assert [(case.group, case.name, case.text) for case in again.cases[1:3]] == [
        ("jest", "adds", "<expected>"), ("tests.test_b", "test_four", "boom"),
    ]  # fmt: skip
    assert add_up([report.counts(), report.counts()])["failed"] == 4


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><testsuite>&b;</testsuite>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "declares entities"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "declares entities"),
        ("<a>" * 200, "nested deeper"),
        ("<testsuite><testcase name='cut'", "well-formed"),
        (b"\xff\xfe\x00", "well-formed"),
        ("", "well-formed"),
        ('<?xml version="1.0" encoding="no-such"?><x/>', "unknown encoding"),
        ("{}", "well-formed"),
        ("<html/>", "outermost element is <html>"),
        ('<testsuites tests="5" failures="5"/>', "claims to have 5 tests"),
    ],
)
def test_what_is_no_report_is_a_problem_with_its_name(text: str | bytes, why: str) -> None:
    report = read(PYTEST, text)
    [(path, said)] = report.problems
    assert path == "1.xml" and why in said and report.counts()["total"] == 4


def test_nothing_outside_of_a_report_is_looked_at() -> None:
    report = read('<!DOCTYPE x SYSTEM "file:///nowhere/x.dtd"><x><testcase name="&a;"/></x>')
    assert (report.problems, [case.name for case in report.cases]) == ([], [""])


def test_numbers_and_lengths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "MOST_CASES", 3)
    monkeypatch.setattr(junit, "MOST_TOLD", 1)
    long = "x" * 100_000
    case = f'<testcase name="{long}"><failure message="{long}">{long}</failure></testcase>'
    report = read(f"<testsuite>{case * 5}</testsuite>")
    assert (len(report.cases), report.left, report.counts()["total"]) == (3, 2, 5)
    first = report.cases[0]
    assert (len(first.name), len(first.message), len(first.text)) == (500, 2_000, 16_000)
    assert report.cases[1].text == ""


def test_cases_that_passed_give_way_to_others_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "MOST_CASES", 3)
    cases = "".join(f'<testcase name="{n}" time="1"/>' for n in range(4))
    bad = "".join(f'<testcase name="bad{n}" time="1"><failure/></testcase>' for n in range(2))
    skipped = '<testcase name="not" time="1"><skipped/></testcase>'
    report = read(f"<testsuite>{cases}{bad}{cases}</testsuite>", f"<testsuite>{skipped}</testsuite>")
    assert [case.name for case in report.cases] == ["bad0", "bad1", "not"]
    counts = {"total": 11, "failed": 2, "error": 0, "skipped": 1, "passed": 8, "seconds": 11.0, "problems": 0}
    assert (report.counts(), report.left) == (counts, 8)


def test_failures_beyond_the_bound_are_counted_as_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "MOST_CASES", 3)
    report = read(f"<testsuite>{'<testcase><error/></testcase>' * 5}</testsuite>")
    assert (len(report.cases), report.left, report.counts()["error"]) == (3, 2, 5)


def test_a_suite_of_no_tests_is_a_report() -> None:
    assert read('<testsuites tests="0"><testsuite tests="0"/></testsuites>', "<testsuite/>").problems == []
