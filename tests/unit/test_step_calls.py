import pytest

from stepwell.authoring.step_calls import unknown_call

HEAD = "from stepwell import Pipeline\n\n\nclass Ship(Pipeline):\n    async def run(self, event, step):\n"


def found(body: str, head: str = HEAD) -> object:
    return unknown_call({"notes.txt": "step.nothing(", "pipeline.py": head + body})


def test_a_call_that_step_does_not_have_is_found_at_its_line() -> None:
    body = '        await step.run("a", "true")\n        for _ in "ab":\n            await step.sleeep("b", 1)\n'
    assert found(body) == ("pipeline.py", 8, "sleeep")
    assert found(body.replace("step.", "s."), HEAD.replace("step)", "s)")) == ("pipeline.py", 8, "sleeep")


@pytest.mark.parametrize(
    "body",
    [
        "        await step.sleep('a', 1)\n        step.uuid()\n",
        "        step = other()\n        step.sleeep()\n",
        "        for step in []:\n            step.sleeep()\n",
        "        [step.sleeep() for step in []]\n",
        "        def inner(step):\n            step.sleeep()\n",
        "        import step\n        step.sleeep()\n",
        "        try:\n            step.sleeep()\n        except AttributeError:\n            pass\n",
        "        other.sleeep()\n        step.run.sleeep()\n",
    ],
)
def test_what_is_not_certain_is_left_alone(body: str) -> None:
    assert found(body) is None


def test_only_the_run_of_a_pipeline_is_looked_at() -> None:
    body = "        step.sleeep()\n"
    assert found(body, HEAD.replace("from stepwell", "from mine")) is None
    assert found(body, HEAD.replace("Ship(Pipeline)", "Ship(Other)")) is None
    assert found(body, HEAD.replace("def run", "def walk")) is None
    assert found(body, HEAD.replace("    async", "    @traced\n    async")) is None
