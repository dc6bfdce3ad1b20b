import asyncio
import json
import threading

import pytest
from fixture_logs import FixtureLog

from stepwell.engine.entries import Entry
from stepwell.engine.specs import Note
from stepwell.engine.state import RunState
from stepwell_web.live import RING, Feeds, Head, Hub, Tail, encode, event, notes_topic, run_topic, tenant_topic


def entry(seq: int) -> Entry:
    return Entry("r1", seq, 1.0, "started", "lint#1", 1, 1, {"runner": "local"})


async def test_a_listener_is_woken_from_another_thread() -> None:
    hub = Hub()
    hub.start()
    with hub.subscribe(run_topic("r1")) as subscription:
        thread = threading.Thread(target=lambda: hub.post(run_topic("r1"), entry(1)))
        thread.start()
        assert await subscription.wait(60)
        thread.join()
        found = hub.entries(run_topic("r1"), 0)
    assert found is not None
    assert [seq for seq, _ in found] == [1]


async def test_nothing_is_kept_for_a_topic_without_listeners() -> None:
    hub = Hub()
    hub.start()
    hub.post(run_topic("r1"), entry(1))
    with hub.subscribe(run_topic("r1")):
        assert hub.entries(run_topic("r1"), 0) == []
    assert hub._listeners == {} and hub._entries == {}


async def test_who_is_behind_the_ring_is_told_to_read_the_journal() -> None:
    hub = Hub()
    hub.start()
    with hub.subscribe(run_topic("r1")) as subscription:
        for seq in range(1, RING + 3):
            hub.post(run_topic("r1"), entry(seq))
        await subscription.wait(60)
        assert hub.entries(run_topic("r1"), 0) is None
        found = hub.entries(run_topic("r1"), RING)
    assert found is not None
    assert [seq for seq, _ in found] == [RING + 1, RING + 2]


async def test_many_posts_wake_a_listener_once() -> None:
    hub = Hub()
    hub.start()
    with hub.subscribe(run_topic("r1")) as subscription:
        for seq in range(1, 50):
            hub.post(run_topic("r1"), entry(seq))
        assert await subscription.wait(60)
        assert not await subscription.wait(0)


async def test_a_note_is_told_but_not_kept() -> None:
    hub = Hub()
    hub.start()
    with hub.subscribe(run_topic("r1")) as subscription:
        Feeds(hub).news(Note("r1", 1.0, "running", "version#1"), None)
        assert await subscription.wait(60)
        assert subscription.noted
        assert hub.entries(run_topic("r1"), 0) == []


def test_news_of_lists_and_notes_of_runs_are_counted_for_their_tenant_alone() -> None:
    hub = Hub()
    lists, notes, others = [tenant_topic("acme")], [notes_topic("acme")], [tenant_topic("other"), notes_topic("other")]
    state = RunState("r1", "acme", "acme/shop", 1, "Ship")
    for news, topics in ((entry(4)._replace(type="ended"), lists), (Note("r1", 1.0, "running", "version#1"), notes)):
        before, beside = hub.told(topics), hub.told(others)
        Feeds(hub).news(news, state)
        assert hub.told(topics) != before
        assert hub.told(others) == beside
    assert Hub().told(others) != hub.told(others), "what was counted before a restart is taken for what is now"


async def test_closing_the_hub_wakes_everybody() -> None:
    hub = Hub()
    hub.start()
    with hub.subscribe("a") as first, hub.subscribe("b") as second:
        hub.close()
        assert await first.wait(60) and await second.wait(60)


async def test_the_tail_of_a_log_is_rendered_once_and_in_full() -> None:
    log = FixtureLog(b"one\n")
    tail = Tail(log, "s", 0)
    first = await tail.after(0)
    log.data += b"two\nthr"
    second, again = await asyncio.gather(tail.after(1), tail.after(0))
    assert [end for end, _ in first] == [1]
    assert [end for end, _ in second] == [2]
    assert "two" in second[0][1] and "thr" not in second[0][1]
    assert [end for end, _ in again] == [1, 2]


async def test_who_is_behind_the_tail_reads_the_file() -> None:
    tail = Tail(FixtureLog(b"x\n" * 10), "s", 8)
    assert [end for end, _ in await tail.after(2)] == [10]


async def test_a_last_line_without_its_break_is_shown_at_the_end() -> None:
    tail = Tail(FixtureLog(b"one\ntwo"), "s", 0)
    tail.ended = True
    assert (await tail.after(0))[-1][0] == 2


def test_an_event_keeps_its_line_breaks_apart() -> None:
    assert event("lines", "a\nb", "7") == b"event: lines\nid: 7\ndata: a\ndata: b\n\n"


def test_an_entry_is_encoded_on_one_line_under_its_number() -> None:
    text = encode(entry(7)).decode()
    assert text.startswith("event: entry\nid: 7\ndata: {")
    assert json.loads(text.split("data: ")[1])["key"] == "lint#1"


async def test_viewers_are_told_where_a_run_is_without_reading_it_anew() -> None:
    hub = Hub()
    hub.start()
    known = Head(1, False, True)
    feeds = Feeds(hub)
    with hub.subscribe(run_topic("r1")) as subscription:
        assert hub.head(run_topic("r1"), known) == known
        feeds.news(entry(2), None)
        assert await subscription.wait(60)
        assert hub.head(run_topic("r1"), known) == Head(2, False, False)
        assert hub.head(run_topic("r1"), Head(3, True, False)).finished, "who has read it since knows more"
        feeds.news(entry(4)._replace(type="ended"), None)
        assert await subscription.wait(60)
        assert hub.head(run_topic("r1"), known) == Head(4, True, False)
        assert not await subscription.wait(0.001), "there is nothing new"
    assert hub._heads == {}


@pytest.mark.parametrize(("metadata", "told"), [({"plan": "d1"}, True), ({}, False)])
async def test_only_viewers_of_a_plan_hear_when_its_code_leaves_its_process(
    metadata: dict[str, str], told: bool
) -> None:
    hub = Hub()
    hub.start()
    state = RunState("r1", "acme", "acme/-", 1, "Plan", metadata=metadata)
    with hub.subscribe(run_topic("r1")) as subscription:
        Feeds(hub).news(Note("r1", 1.0, "turn", text="end"), state)
        assert await subscription.wait(0) is told
        assert subscription.noted is told
