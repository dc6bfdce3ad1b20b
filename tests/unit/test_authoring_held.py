"""A replay that is held: nothing begins, and nothing is said, before the host is ready for it."""

import asyncio
import json
import socket
from typing import Any

from stepwell import Pipeline
from stepwell.authoring.code import Files
from stepwell.authoring.event import Event
from stepwell.authoring.prints import Prints
from stepwell.authoring.step import Step
from stepwell.authoring.turn import Turn
from stepwell.authoring.wire import Wire


async def work() -> None: ...


class Ship(Pipeline):
    async def run(self, event: Event, step: Step) -> None:
        asyncio.get_running_loop().call_later(9, print)
        await step.do("work", work)


def test_nothing_leaves_a_held_replay_before_it_is_let_go() -> None:
    ours, theirs = socket.socketpair()
    outer = asyncio.new_event_loop()
    try:
        wire = Wire(theirs)
        head: dict[str, Any] = {"run": "r", "params": {"kind": "manual"}}
        turn = Turn(head, Files(".stepwell", {}), wire, Prints(wire, outer), outer=outer)
        turn.pipeline = Ship
        turn.replay([[[1, 1.0, "created", "", 0, None]]], held=True)
        ours.setblocking(False)
        assert not turn.inline.running
        try:
            said = ours.recv(9999)
        except BlockingIOError:
            said = b""
        assert said == b""
        turn.flush()
        (begun,) = turn.inline.running.values()
        assert [command[:2] for command in json.loads(ours.recv(9999))] == [["ask", "~1"]]
        assert begun.key == "work#1" and begun.task is not None
        outer.run_until_complete(begun.task)
    finally:
        outer.close()
        ours.close()
        theirs.close()
