"""Files that a step of a fixture run has left: artifacts and a report of its tests, as blobs of a state directory."""

import io
import json
from typing import Any

from stepwell.ci.junit import Case, Report
from stepwell.store.blobs import BlobFiles

TRACE = """def test_partial_refund_rounds_half_even(ledger):
        charge = ledger.charge(1005, currency="EUR")
        refund = ledger.refund(charge.id, ratio=Decimal("0.5"))
>       assert refund.minor_units == 502
E       assert 503 == 502"""
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)
README = b"""# Payments API

<p align="center"><img src="logo.png" alt="Logo" width="64" height="64"></p>

[![Checks](https://badges.example/checks.svg)](https://badges.example/checks) [![PyPI](https://badges.example/pypi.svg)](https://pypi.example/payments)

Charges and refunds for *every* shop. It rounds **half to even**; see [the reasons](src/refunds.py#L3), [how to set it
up](#set-it-up) and ~~the wiki~~ [the notes](notes.md).

## Set it up

1. Install it: `pip install payments`
2. Make a ledger

```python
from payments import Ledger

ledger = Ledger("acme")          # one for each shop
charge = ledger.charge(1005, currency="EUR")
print(charge.refund(0.5).minor_units)
```

```sh
payments serve --port 8000 --with-a-long-option-that-does-not-fit=on-a-phone --and-another=one
```

| Currency | Minor units | Rounding |
|:---------|------------:|:--------:|
| EUR      |           2 | half to even |
| JPY      |           0 | half to even |

- [x] Refunds
- [ ] Disputes
  - with a reason
  - without one

> Money is an integer. Always.

#### A heading that skips some

![Architecture](https://pictures.example/architecture.png)

<details><summary>Why not decimals?</summary>

Because *someone* adds them as floats.

</details>

<script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)" id="jump">hello</a>
<form action="/signout" method="post"><button>Sign out</button></form><iframe src="https://evil.example"></iframe>
![data](data:image/png;base64,AAAA) [data](data:text/html,x) <style>body { display: none }</style>
"""


def collect(blobs: BlobFiles, run: str, nasty: str) -> dict[str, Any]:
    """Keep files and a report for a run; what the journal says of them. `nasty` is a name and a message of theirs."""
    contents = {"dist/report.txt": b"103 tests, 1 failed\n", "dist/chart.png": PIXEL, f"dist/{nasty}": b"\0\1"}
    batch = blobs.batch(run)
    ids = {path: batch.add_bytes(content) for path, content in contents.items()}
    listed = [[path, size, n] for n, (path, (_, size)) in enumerate(ids.items())]
    manifest = batch.add_bytes(json.dumps({"blobs": [id for id, _ in ids.values()], "artifacts": listed}).encode())
    report = _report(nasty)
    tests = batch.add_bytes(json.dumps(report.as_json()).encode())
    batch.keep()
    counts = {**report.counts(), "id": tests[0], "size": tests[1]}
    return {"id": manifest[0], "size": manifest[1], "artifacts": len(listed), "tests": counts}


def _report(nasty: str) -> Report:
    report = Report()
    report.take(
        Case("tests.test_refunds", "test_partial_refund_rounds_half_even", "failed", 0.42, f"assert 503 == 502 {nasty}",
             TRACE, "tests/test_refunds.py", 88)
    )  # fmt: skip
    report.take(Case("tests.test_refunds", "test_currency_without_cents", "skipped", 0.0, "needs rates"))
    for n in range(101):
        report.take(Case("tests.test_ledger", f"test_entry_{n}", "passed", 0.01 * n))
    report.add("junit.xml", io.BytesIO(b"<testsuites"))  # cut short
    return report
