"""The reader of traces sees what would break a promise: an answer without a sync, or beside one that has not ended."""

import pytest
from syscalls import answer_to, kept_before, read

ASKED = '7 recvfrom(21<socket:[5]>, "\\x61\\x73\\x6b", 100, 0, NULL, NULL) = 3'
WRITTEN = '8 pwrite64(14</s/db-wal>, "\\x2e\\x65\\x6e\\x74\\x72\\x79", 6, 0) = 6'
SYNCED = "8 fdatasync(14</s/db-wal>) = 0"
REFUSED = "8 fdatasync(14</s/db-wal>) = -1 EIO (Input/output error) (INJECTED)"
BEGUN = "8 fdatasync(14</s/db-wal> <unfinished ...>"
ENDED = "8 <... fdatasync resumed>) = 0"
OTHER = "8 fdatasync(15</s/other>) = 0"
SENT = '7 sendto(21<socket:[5]>, "\\x6f\\x6b", 2, 0, NULL, 0) = 2'
ELSEWHERE = '7 sendto(22<socket:[6]>, "\\x6f\\x6b", 2, 0, NULL, 0) = 2'


@pytest.mark.parametrize(
    "lines",
    [
        [ASKED, WRITTEN, SYNCED, SENT],
        [ASKED, WRITTEN, BEGUN, ELSEWHERE, ENDED, SENT],
        [ASKED, ELSEWHERE, WRITTEN, SYNCED, SENT],
    ],
)
def test_entry_synced_before_the_answer_is_kept(lines: list[str]) -> None:
    calls = read("\n".join(lines))
    assert kept_before(calls, b"entry", answer_to(calls, b"ask")) == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([ASKED, SYNCED, SENT], "never written"),
        ([ASKED, SENT, WRITTEN, SYNCED], "after"),
        ([ASKED, SYNCED, WRITTEN, SENT], "not synced"),
        ([ASKED, WRITTEN, SENT, SYNCED], "not synced"),
        ([ASKED, WRITTEN, REFUSED, SENT], "not synced"),
        ([ASKED, WRITTEN, OTHER, SENT], "not synced"),
        ([ASKED, WRITTEN, BEGUN, SENT, ENDED], "not synced"),
        ([ASKED, BEGUN, WRITTEN.replace("8 ", "9 ", 1), ENDED, SENT], "not synced"),
    ],
)
def test_entry_not_certainly_on_disk_is_told(lines: list[str], said: str) -> None:
    calls = read("\n".join(lines))
    assert said in kept_before(calls, b"entry", answer_to(calls, b"ask"))
