# ruff: noqa: E501 - one case a line
"""What an author can do wrong, each with the message that says what to write instead."""

import pytest

from stepwell.authoring.rehearsal import Isolate, Rehearsal

HEAD = """
import asyncio, datetime, logging, os, random, socket, subprocess, threading, time, uuid
from stepwell import FinalError, Pipeline, Retry, StepFailed, Undo, push

async def give(value): return value

class Ship(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
"""


def fail(body: str, **settings: object) -> dict[str, str]:
    run = Rehearsal({"pipeline.py": HEAD + body}, **settings)  # type: ignore[arg-type]
    state, error = run.play()[1:]
    assert state == "failed", error
    return dict(error)


def describe(text: str, **files: str) -> dict[str, object]:
    head = {"mode": "describe", "root": ".stepwell", "files": {"pipeline.py": text, **files}, "entry": "pipeline.py"}
    with Isolate(head) as isolate:
        answer = isolate.read(20)
        assert isolate.exit_code() == 0
    return dict(answer)


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ("time.sleep(1)", "time.sleep", "step.sleep"),
        ("time.time()", "time.time", "step.now()"),
        ("datetime.datetime.now()", "datetime.now", "step.now()"),
        ("datetime.date.today()", "time.time", "step.now()"),
        ("random.random()", "random.random", "step.random()"),
        ("uuid.uuid4()", "uuid.uuid4", "step.uuid()"),
        ("os.urandom(4)", "os.urandom", "step.random()"),
        ("socket.socket()", "a socket", "step.do"),
        ("socket.create_connection(('localhost', 1))", "socket", "step.do"),
        ("subprocess.run(['true'])", "subprocess", "step.run"),
        ("os.system('true')", "os.system", "step.run"),
        ("threading.Thread(target=print).start()", "thread", "step.do"),
        ("await asyncio.to_thread(print)", "thread", "step.do"),
        ("await asyncio.create_subprocess_shell('true')", "subprocess", "step.run"),
        ("await asyncio.open_connection('localhost', 1)", "create_connection", "step.do"),
        ("await asyncio.get_running_loop().run_in_executor(None, print)", "thread", "step.do"),
        ("await asyncio.start_server(print, 'localhost', 1)", "create_server", "step.do"),
        ("await asyncio.get_running_loop().getaddrinfo('localhost', 1)", "getaddrinfo", "step.do"),
        ("asyncio.get_running_loop().add_signal_handler(15, print)", "add_signal_handler", "step.wait_for_event"),
        ("asyncio.get_running_loop().run_until_complete(give(1))", "run_until_complete", "Await the coroutine"),
        ("asyncio.get_running_loop().set_exception_handler(print)", "set_exception_handler", "step.do"),
        ("asyncio.run(give(1))", "asyncio.run in run()", "Await the coroutine"),
        ("asyncio.new_event_loop()", "new_event_loop", "Await the coroutine"),
        (
            "asyncio.run_coroutine_threadsafe(give(1), asyncio.get_running_loop()).result()",
            "run_coroutine_threadsafe",
            "Await the coroutine",
        ),
        ("__import__('concurrent.futures').futures.ThreadPoolExecutor().submit(print)", "thread", "step.do"),
        ("open('/tmp/x', 'w')", "opening a file", "step.read"),
        ("os.listdir('.')", "os.listdir", "step.do"),
        ("input()", "input", "step.approval"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_the_call_to_use(line: str, what: str, remedy: str) -> None:
    error = fail(f"        {line}\n")
    assert error["type"] == "NotDurable"
    assert what in error["message"]
    assert remedy in error["message"]
    assert '.stepwell/pipeline.py", line 10' in error["traceback"]


def test_functions_of_steps_are_free_and_logging_has_journal_time() -> None:
    run = Rehearsal({"pipeline.py": HEAD + """
        def free():
            time.sleep(0.001)
            thread = threading.Thread(target=time.time)
            thread.start(); thread.join()
            a, b = socket.socketpair(); a.close(); b.close()
            return [isinstance(datetime.datetime.now(), datetime.datetime), random.random() < 1, len(str(uuid.uuid4()))]
        logging.basicConfig(format="%(created)d %(message)s")
        logging.warning("hello")
        assert isinstance(step.now(), datetime.datetime) and step.now().tzinfo
        return await step.do("free", free)
"""})  # fmt: skip
    assert run.play() == ["end", "passed", [True, True, 36]]
    assert run.printed() == "1000000 hello\n"


@pytest.mark.parametrize(
    ("body", "type_", "message"),
    [
        ("        step.run('lint', 'ruff')\n", "NotAwaited", "step 'lint' at .stepwell/pipeline.py:10 was never awaited"),
        ("        step.do('a', give, 1); await step.do('b', give, 2)\n", "NotAwaited", "step 'a' at .stepwell/pipeline.py:10"),
        ("        asyncio.create_task(step.run('lint', 'ruff'))\n        await asyncio.sleep(0)\n", "NotAwaited", "step 'lint' at .stepwell/pipeline.py:10"),
        ("        await asyncio.Event().wait()\n", "Stuck", ".stepwell/pipeline.py:10"),
        ("        return object()\n", "ResultRefused", "What run() returned is not JSON: it contains an object of type object"),
        ("        await step.do('x', give, {1, 2})\n", "StepFailed", "The result of step 'x' is not JSON: it contains an object of type set"),
        ("        await step.do('x', give, 'y' * 67_108_863)\n", "StepFailed", "The result of step 'x' is 67,108,865 bytes of JSON; at most 67,108,864 (64 MiB)"),
        ("        await step.do('x', give, float('nan'))\n", "StepFailed", "a number that is infinite or not a number"),
        ("        await step.do('x', give, '\\ud800')\n", "StepFailed", "text that is not valid Unicode"),
        ("        await step.sleep('z', '3 fortnights')\n", "ValueError", "step.sleep duration has value '3 fortnights'"),
        ("        await step.sleep('z', -1)\n", "ValueError", "step.sleep duration has value -1"),
        ("        await step.run('x', 'true', timeout='soon')\n", "ValueError", "timeout has value 'soon'"),
        ("        await step.do('x', give, 1, timeout=0)\n", "ValueError", "timeout has value 0. Write a time above 0, like"),
        ("        await step.do('x', give, 1, undo=Undo(give, timeout=0))\n", "ValueError", "timeout has value 0."),
        ("        await step.approval('x', timeout='0 days')\n", "ValueError", "timeout has value '0 days'. Write a time"),
        ("        await step.run('x', 'true', retries='many')\n", "TypeError", "retries has value 'many'"),
        ("        await step.run('x', 'true', tols=[])\n", "TypeError", "step.run has no option 'tols'. Known are: artifacts"),
        ("        await step.run('x', 'true', undo=give)\n", "NotExecuted", "option 'undo' is not executed"),
        ("        import datetime\n        await step.sleep_until('x', datetime.datetime(2030, 1, 1))\n", "ValueError", "Write a datetime with a time zone"),
        ("        await step.sleep_until('x', '2030-01-01')\n", "ValueError", "step.sleep_until has time '2030-01-01'"),
        ("        await step.image('x', push=True)\n", "NotExecuted", "option 'push' is not executed"),
        ("        await step.image('x', args={'BUILDKIT_SYNTAX': 'x'})\n", "ValueError", "args names 'BUILDKIT_SYNTAX'"),
        ("        await step.do('x', give(1))\n", "TypeError", "Give it a function"),
        ("        await step.do('', give, 1)\n", "ValueError", "A step has the name ''"),
        ("        await step.do('x', lambda: step.do('y', give, 1), retries=0)\n", "StepFailed", "was called outside of run()"),
        ("        event.changed('src/**')\n", "ValueError", "event.changed() cannot answer"),
        ("        raise SystemExit(3)\n", "SystemExit", "3"),
    ],
)  # fmt: skip
def test_a_mistake_fails_the_run_and_says_what_to_write(body: str, type_: str, message: str) -> None:
    error = fail(body)
    assert error["type"] == type_, error
    assert message in error["message"]


def test_a_refused_result_is_not_retried() -> None:
    run = Rehearsal({"pipeline.py": HEAD + "        await step.do('x', give, {1}, retries=9)\n"})
    run.play()
    assert [command[4] for command in run.commands if command[0] == "do"] == [1]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("def broken(:\n", ".stepwell/pipeline.py:1: invalid syntax", 1),
        ("import os\nimport requests\n", ".stepwell/pipeline.py:2: there is no module 'requests'", 2),
        ("x = 1\n", ".stepwell/pipeline.py has no pipeline", None),
        ("from stepwell import *\nclass A(Pipeline):\n    def run(self, event, step): ...\n", "Write `async def run", 3),
        ("from stepwell import *\ncron('61 * * * *')\n", "cron has schedule '61 * * * *' with minute '61'", 2),
        ("from stepwell import *\ncron('0 3 * * *', tz='Mars/Base')\n", "cron has time zone 'Mars/Base'", 2),
        ("from stepwell import *\nclass A(Pipeline):\n    on = ['main']\n    async def run(self, e, s): ...\n", "A.on contains", 4),
        ("1 / 0\n", "division by zero", 1),
        ("raise SystemExit\n", "", 1),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded_names_file_and_line(text: str, message: str, line: int | None) -> None:
    answer = describe(text)
    assert answer["ok"] is False
    error = answer["error"]
    assert isinstance(error, dict)
    assert message in error["message"]
    assert error["line"] == line
    end = Rehearsal({"pipeline.py": text}).play()
    assert end[:2] == ["end", "failed"]
    assert message in end[2]["message"]


def test_several_pipelines_need_a_name_and_are_all_described() -> None:
    text = HEAD + "        return 1\nclass Other(Ship):\n    '''Second.'''\n    on = []\n"
    assert "several pipelines: Ship, Other" in Rehearsal({"pipeline.py": text}).play()[2]["message"]
    assert Rehearsal({"pipeline.py": text}, entry="pipeline.py:Other").play() == ["end", "passed", 1]
    found = describe(text)["pipelines"]
    assert isinstance(found, list)
    assert [(one["entry"], one["doc"], one["on"]) for one in found] == [
        ("pipeline.py:Ship", "", [{"kind": "push", "branches": ["main"], "paths": []}]),
        ("pipeline.py:Other", "Second.", []),
    ]


def test_siblings_are_importable_and_may_not_hide_the_library() -> None:
    text = "from stepwell import Pipeline\nfrom lib.deep import X\nclass A(Pipeline):\n    async def run(self, e, s): return X\n"
    assert Rehearsal({"pipeline.py": text, "lib/deep.py": "X = 4\n"}).play() == ["end", "passed", 4]
    assert "Rename the file" in Rehearsal({"pipeline.py": text, "json.py": ""}).play()[2]["message"]


@pytest.mark.parametrize(
    "loop",
    [
        "        while True: pass\n",
        "        while True: await asyncio.sleep(0)\n",
        "        await step.do('first', give, 1)\n        while True: pass\n",
    ],
)
def test_code_that_does_not_yield_is_reported_with_its_line(loop: str) -> None:
    run = Rehearsal({"pipeline.py": HEAD + loop}, stall_seconds=0.5)
    assert run.play() == ["stalled", f".stepwell/pipeline.py:{9 + loop.count(chr(10))}"]


def test_a_held_interpreter_lock_ends_the_isolate_and_leaves_the_line() -> None:
    body = "        import re\n        re.match(r'(a+)+$', 'a' * 40 + 'b')\n"
    with pytest.raises(EOFError, match=r'File "\.stepwell/pipeline\.py", line 11'):
        Rehearsal({"pipeline.py": HEAD + body}, stall_seconds=0.5).play()


def test_a_module_that_never_ends_loading_is_reported() -> None:
    assert Rehearsal({"pipeline.py": "while True:\n    pass\n"}, stall_seconds=0.5).play()[0] == "stalled"
