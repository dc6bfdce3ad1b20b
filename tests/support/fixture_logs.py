"""Logs in memory."""

from __future__ import annotations

from dataclasses import dataclass

from fixture_runs import NOW

LOG = b"""\x1econtainer python:3.13-slim started in 84 ms
\x1b[1m============================= test session starts ==============================\x1b[0m
platform linux -- Python 3.13.2, pytest-9.0.1, pluggy-1.6.0
rootdir: /workspace, configfile: pyproject.toml
collecting ... \x1b[1mcollected 103 items\x1b[0m

tests/test_ledger.py \x1b[32m........................\x1b[0m\x1b[32m                               [ 23%]\x1b[0m
tests/test_refunds.py \x1b[32m.........\x1b[31mF\x1b[32m......\x1b[33ms\x1b[31m                            [ 39%]\x1b[0m
tests/test_webhooks.py \x1b[32m...................................\x1b[0m\x1b[31m                 [ 74%]\x1b[0m

=================================== FAILURES ===================================
\x1b[31m\x1b[1m______________________ test_partial_refund_rounds_half_even ______________________\x1b[0m

    \x1b[94mdef\x1b[39;49;00m \x1b[92mtest_partial_refund_rounds_half_even\x1b[39;49;00m(ledger):
        charge = ledger.charge(\x1b[94m1005\x1b[39;49;00m, currency=\x1b[33m"EUR"\x1b[39;49;00m)
        refund = ledger.refund(charge.id, ratio=Decimal(\x1b[33m"0.5"\x1b[39;49;00m))
>       \x1b[94massert\x1b[39;49;00m refund.minor_units == \x1b[94m502\x1b[39;49;00m
\x1b[1m\x1b[31mE       assert 503 == 502\x1b[0m
\x1b[1m\x1b[31mE        +  where 503 = Refund(id="re_9f2", minor_units=503).minor_units\x1b[0m

\x1b[1m\x1b[31mtests/test_refunds.py\x1b[0m:88: AssertionError
\x1b[36m\x1b[1m=========================== short test summary info ============================\x1b[0m
\x1b[31mFAILED\x1b[0m tests/test_refunds.py::\x1b[1mtest_partial_refund_rounds_half_even\x1b[0m - assert 503 == 502
\x1b[31m================== \x1b[1m1 failed\x1b[0m, \x1b[32m101 passed\x1b[0m, \x1b[33m1 skipped\x1b[31m in 82.16s\x1b[0m
"""


GROUPED = b"""$ make install
::group::\x1b[1mResolve\x1b[0m 41 packages
one of them
another of them
::endgroup::
##[group]Build
wheel is built
##[endgroup]
done
"""


@dataclass(frozen=True)
class FixtureLine:
    """A line of a log in memory."""

    number: int
    at: float
    text: bytes
    note: bool


@dataclass
class FixtureLog:
    """A log in memory that can grow."""

    data: bytes = b""
    finished: bool = True

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def line_count(self) -> int:
        return self.data.count(b"\n") + (bool(self.data) and not self.data.endswith(b"\n"))

    def read(self, offset: int = 0, limit: int = 65536) -> bytes:
        return self.data[offset : offset + limit]

    def lines(self, start: int = 0, count: int = 500) -> list[FixtureLine]:
        texts = self.data.split(b"\n")[: self.line_count][start : start + count]
        return [
            FixtureLine(start + n, NOW - 280 + start + n, t.removeprefix(b"\x1e"), t.startswith(b"\x1e"))
            for n, t in enumerate(texts)
        ]


def huge_log() -> bytes:
    """A log of 20,000 lines."""
    return b"".join(b"line %d of a long log\n" % n for n in range(1, 20_001))
