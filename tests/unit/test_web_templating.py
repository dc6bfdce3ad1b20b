"""What templates write about a run."""

import pytest
from fixture_runs import summary

from stepwell_web.templating import why


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("", ""),
        (
            "waits for run #11 in group ship-main",
            'waits for run <a href="/acme/payments-api/runs/11">#11</a> in group ship-main',
        ),
        (
            "cancelled by <b>: not run #1, run #2",
            'cancelled by &lt;b&gt;: not run <a href="/acme/payments-api/runs/1">#1</a>, '
            'run <a href="/acme/payments-api/runs/2">#2</a>',
        ),
        ("waits for issue #3 & run #x", "waits for issue #3 &amp; run #x"),
    ],
)
def test_other_runs_in_a_reason_are_links_and_the_rest_is_text(reason: str, written: str) -> None:
    assert why(summary(), reason) == written
