"""Every program takes the same way at each replay, in fresh processes, from every place of its journal.

Isolates of one zygote share their memory's layout, so an order that follows addresses may hold there by luck: whole
journals are replayed in isolates of several zygotes, of 20 with `STEPWELL_SOAK=1`.
"""

import asyncio
import functools
import json
import os
import random
from pathlib import Path

import pytest

from stepwell.authoring.rehearsal import Command, Rehearsal, bare, traced
from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions

COMMON = """
import asyncio, random, time
from asyncio import gather
from stepwell import EventTimeout, Pipeline, StepFailed

jitter = random.Random()

async def work(value, longest=0.004):
    await asyncio.sleep(jitter.random() * longest)
    return value

def thread(value):
    time.sleep(jitter.random() * 0.003)
    return value

async def boom(value):
    await asyncio.sleep(jitter.random() * 0.004)
    raise ValueError(value)

class Ship(Pipeline):
    async def run(self, event, step):
"""

PROGRAMS = {
    "gather": """
        return await gather(*[step.do("a", work, i) for i in range(5)], step.do("b", thread, 7))
""",
    "beside_run": """
        async def beside(i):
            print("begins", i)
            for k in range(3):
                print("beside", i, await step.do(f"b{i}", work, k))
        async def hear(it):
            print("heard", await it)
        class Wrapped:
            def __init__(self, it):
                self.it = it
            def __await__(self):
                way = self.it.__await__()
                print("made", self.it.done())
                return (yield from way)
        for k in range(4):
            print("alone", await step.do("alone", work, k))
        tasks = [asyncio.create_task(beside(i)) for i in range(2)]
        for k in range(3):
            print("run", await step.do("run", work, k))
        await gather(*tasks)
        first, second = step.do("first", work, 1), step.do("second", work, 2)
        print(await second, first.done(), await first)
        both = step.do("both", work, 3)
        hearing = asyncio.create_task(hear(both))
        await asyncio.sleep(0)
        print("run", await both)
        print(hearing.done())
        await hearing
        print(await Wrapped(step.do("wrapped", work, 4)))
        asyncio.current_task().cancel()
        try:
            await step.do("given up", work, 5)
        except asyncio.CancelledError:
            print("cancelled", asyncio.current_task().uncancel())
        try:
            await step.do("bad", boom, 6, retries=1)
        except StepFailed as error:
            print(error)
        await step.sleep("nap", 0.01)
        return await step.do("last", work, 7)
""",
    "wait_first": """
        tasks, out = {asyncio.create_task(step.do("w", work, i)) for i in range(5)}, []
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                print(task.result())
                out.append(await step.do("after", work, task.result()))
        return out
""",
    "as_completed": """
        async def two(i):
            return await step.do("y", work, 10 * await step.do("x", work, i))
        for one in asyncio.as_completed([two(i) for i in range(4)]):
            print(await one)
        for one in asyncio.as_completed([step.do("z", work, i) for i in range(4)], timeout=60):
            print(await one)
""",
    "task_group": """
        async def three(i):
            for k in range(3):
                print(i, await step.do(f"t{i}", work, k))
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(3):
                    group.create_task(three(i))
                group.create_task(step.do("bad", boom, "x", retries=0))
        except* StepFailed as group:
            print([str(error) for error in group.exceptions])
        return await step.do("cleanup", work, 1)
""",
    "timeouts": """
        out = []
        for i in range(4):
            try:
                async with asyncio.timeout(0.003):
                    out.append(await step.do("k", work, i, 0.1))
            except TimeoutError:
                out.append(await step.do("late", work, i))
            try:
                out.append(await asyncio.wait_for(step.do("s", work, i, 0.1), 0.002))
            except TimeoutError:
                print("late", i)
        return len(out)
""",
    "shield": """
        task = asyncio.ensure_future(step.do("slow", work, "v", 0.2))
        try:
            await asyncio.wait_for(asyncio.shield(task), 0.005)
        except TimeoutError:
            print("shielded", await step.do("mid", work, 1))
        return await task
""",
    "losers_are_cancelled": """
        async def racer(i):
            try:
                for k in range(3):
                    await step.do(f"r{i}", work, k)
                return i
            except asyncio.CancelledError:
                await step.do(f"undo{i}", work, i)
                raise
        tasks = [asyncio.create_task(racer(i)) for i in range(4)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        print([repr(x) for x in await gather(*pending, return_exceptions=True)], len(done) > 0)
""",
    "wait_with_conditions": """
        async def slow(i):
            return await step.do(f"slow{i}", work, i, 0.3)
        tasks = [asyncio.create_task(slow(i)) for i in range(3)]
        done, late = await asyncio.wait(tasks, timeout=0.005)
        print(len(done) + len(late), [task.get_name() for task in late])
        failing = [asyncio.create_task(step.do(f"f{i}", boom if i == 1 else work, i, retries=0)) for i in range(3)]
        done, rest = await asyncio.wait(failing, return_when=asyncio.FIRST_EXCEPTION)
        print([type(task.exception()).__name__ for task in done])
        done, none = await asyncio.wait([*late, *rest, *tasks], return_when=asyncio.ALL_COMPLETED)
        return [len(none), await gather(*tasks)]
""",
    "sleeps_and_deadlines": """
        loop, out = asyncio.get_running_loop(), []
        async def tick(name):
            for k in range(3):
                await asyncio.sleep(0)
                out.append([name, k])
        await gather(tick("a"), tick("b"))
        woken = asyncio.Event()
        loop.call_later(30, woken.set)
        loop.call_at(loop.time() + 20, out.append, "at 20")
        try:
            async with asyncio.timeout_at(loop.time() + 10):
                await woken.wait()
        except TimeoutError:
            out.append(await step.do("late", work, 10))
        async with asyncio.timeout(None) as limit:
            limit.reschedule(loop.time() + 60)
            await woken.wait()
        out += await gather(asyncio.sleep(3, "slept"), asyncio.wait_for(asyncio.sleep(1, "one"), 2))
        try:
            await asyncio.wait_for(step.do("never", work, 1, 30), 0)
        except TimeoutError:
            out.append("at once")
        return out
""",
    "barriers_and_conditions": """
        barrier, changed, state = asyncio.Barrier(3), asyncio.Condition(), []
        async def party(i):
            await step.do(f"p{i}", work, i)
            async with barrier:
                print("met", i)
            async with changed:
                await changed.wait_for(lambda: len(state) > i)
                print("saw", i, len(state))
        async def feeder():
            for i in range(3):
                value = await step.do("feed", work, i)
                async with changed:
                    state.append(value)
                    changed.notify_all()
        await gather(*(party(i) for i in range(3)), feeder())
""",
    "task_group_cancels_the_others": """
        async def careful(i):
            try:
                await step.wait_for_event(f"w{i}", type="never")
            finally:
                print("left", i, await step.do(f"clean{i}", work, i))
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(3):
                    group.create_task(careful(i))
                group.create_task(step.run("c", "true"))
                await step.do("bad", boom, "x", retries=0)
        except* StepFailed as failed:
            print([str(error) for error in failed.exceptions])
        async with asyncio.timeout(3600):
            outer = asyncio.current_task()
            inner = asyncio.create_task(careful(9))
            await asyncio.sleep(1)
            inner.cancel("enough")
            print(await gather(inner, return_exceptions=True), outer.cancelling())
""",
    "sets": """
        class Thing:
            def __init__(self, name):
                self.name = name
        for thing in {Thing(i) for i in range(8)}:
            await step.do("thing", work, thing.name)
        tasks = {asyncio.create_task(step.do(n, work, n), name=n) for n in {"alpha", "beta", "gamma", "delta"}}
        for task in tasks:
            print(await task)
        groups = {gather(step.do("c", work, i), step.do("d", work, i)) for i in range(4)}
        done, _ = await asyncio.wait(groups)
        for group in done:
            print(await step.do("e", work, group.result()))
""",
    "all_tasks": """
        for i in range(4):
            asyncio.create_task(step.do("bg", work, i, 0.01))
        await step.do("a", work, 1)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                await task
                print(await step.do("seen", work, task.get_name()))
""",
    "commands": """
        async def one(i):
            await step.run(f"c{i}", f"echo {i}")
            return i
        tasks, out = {asyncio.create_task(one(i)) for i in range(6)}, []
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            out += [task.result() for task in done]
        print(out, step.random(), step.uuid(), step.now().isoformat())
        await gather(*[step.sleep(f"z{i}", 5 - i) for i in range(5)], asyncio.sleep(3))
""",
    "events": """
        async def waiter(name):
            value = await step.wait_for_event(name, type="go")
            await step.do("got " + name, work, value)
            return name, value
        print(await gather(waiter("a"), waiter("b")))
        try:
            await step.wait_for_event("c", type="never", timeout="2 hours")
        except EventTimeout as error:
            print(error)
        return await step.wait_for_event("kept", type="go")
""",
    "retries": """
        results = await gather(
            *[step.do("m", boom if i % 2 else work, i, retries=2) for i in range(4)], return_exceptions=True
        )
        print([str(result) for result in results])
""",
    "locks_and_queues": """
        queue, limit, out = asyncio.Queue(), asyncio.Semaphore(2), []
        async def worker(n):
            while True:
                i = await queue.get()
                async with limit:
                    out.append([n, await step.do("job", work, i)])
                queue.task_done()
        workers = [asyncio.create_task(worker(i)) for i in range(3)]
        for i in range(7):
            queue.put_nowait(i)
        await queue.join()
        print(out)
        for one in workers:
            one.cancel()
""",
    "generators": """
        async def numbers():
            try:
                for i in range(5):
                    yield await step.do("g", work, i)
            finally:
                await step.do("closed", work, 0)
        async for value in numbers():
            if value == 2:
                break
        print(await step.do("x", work, value))
""",
    "undo": """
        def undo(value):
            print("undone", value)
        try:
            await gather(*[step.do("u", boom if i == 2 else work, i, retries=0, undo=undo) for i in range(5)])
        except StepFailed:
            await step.do("after", work, "after", undo=undo)
        async with asyncio.timeout(3600):
            await gather(step.do("late", work, "late", undo=undo), step.do("bad", boom, "bad", retries=0, undo=undo))
""",
    "cancel": """
        try:
            await step.approval("never")
        finally:
            print(await gather(step.do("c1", work, 1), step.do("c2", work, 2)))
""",
}
ACTIONS: dict[str, list[tuple[object, ...]]] = {"events": [("event", "go", n) for n in "ABC"], "cancel": [("cancel",)]}

ENDS = {"cancel": "cancelled", "undo": "failed"}
WAITED_FOR = {"as_completed", "events", "task_group_cancels_the_others"}
"""Programs whose time limits no function reaches: the clock does not jump to these while one runs."""


def rehearse(program: str, seed: int) -> Rehearsal:
    files = {"pipeline.py": COMMON + PROGRAMS[program]}
    patience = 20.0 if program in WAITED_FOR else 0.02
    actions = list(ACTIONS.get(program, []))
    return Rehearsal(files, actions=actions, choose=random.Random(seed), patience_seconds=patience)


@functools.cache
def first_play(program: str) -> Rehearsal:
    first = rehearse(program, 1)
    end = first.play()
    assert end[:2] == ["end", ENDS.get(program, "passed")], end
    return first


@pytest.mark.parametrize("program", PROGRAMS)
def test_replay_from_every_prefix_repeats_the_first_play(program: str) -> None:
    first = first_play(program)
    told, delivered = traced(first.commands), bare(first.journal)
    lengths = sorted({len(delivered), *random.Random(2).sample(range(1, len(delivered)), min(4, len(delivered) - 1))})
    for length in lengths:
        again = traced(first.replay(delivered[:length]))
        assert again == told[: len(again)], f"after {length} of {len(delivered)} entries"
    assert again == told


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_journal_that_comes_in_parts_is_replayed_in_the_same_order(program: str) -> None:
    first = first_play(program)
    for size in (1, 5):  # an isolate that is sent parts prints nothing: an earlier turn has
        again = traced(first.replay(bare(first.journal), size))
        assert again == [command for command in traced(first.commands) if command[0] != "log"], size
        end = [command for command in first.replay(first.journal) if command[0] != "log"]
        assert first.replay(first.journal, size) == end, size


@pytest.mark.root
@pytest.mark.parametrize("zygote", range(20 if os.environ.get("STEPWELL_SOAK") else 5))
async def test_a_fresh_zygote_replays_every_program_in_the_same_order(zygote: int, tmp_path: Path) -> None:
    isolates = ZygoteIsolates(tmp_path, Path, IsolateOptions())
    await isolates.start()
    try:
        for program in PROGRAMS:
            first = first_play(program)
            again = traced(await replayed(isolates, first))
            assert again == traced(first.commands), program
    finally:
        await isolates.stop()


async def replayed(isolates: ZygoteIsolates, first: Rehearsal) -> list[Command]:
    """What an isolate says at the end of the replay."""
    loop = asyncio.get_running_loop()
    isolate = await isolates.open(IsolateSpec("acme", "turn", Code("digest", {}, "pipeline.py")))
    try:
        lines = "".join(f"{json.dumps(line)}\n" for line in (first.head(), bare(first.journal)))
        await loop.sock_sendall(isolate.sock, lines.encode())
        said = b""
        while not said.endswith(b"\n"):
            said += (chunk := await loop.sock_recv(isolate.sock, 1 << 20))
            assert chunk, f"{await isolate.ended()} after {said!r}"
    finally:
        isolate.kill()
        await isolate.ended()
        isolate.sock.close()
    commands: list[Command] = json.loads(said)
    return commands


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_run_killed_again_and_again_ends_as_if_it_were_not(program: str) -> None:
    run = rehearse(program, 3)
    end: list[object] = []
    kill_at = 2
    while not end:
        end = run.play(kill_at=kill_at)
        kill_at = len(run.journal) + max(2, len(run.journal) // 3)
    assert end[:2] == ["end", ENDS.get(program, "passed")], end
    done = [entry[3] for entry in run.journal if entry[2] == "done"]
    assert len(done) == len(set(done)), "a step that was seen as completed ran again"
    told = traced(run.replay(bare(run.journal)))
    assert told[-1] == end
    assert told == traced(run.replay(bare(run.journal)))
