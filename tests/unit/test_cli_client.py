"""The client turns answers of the API into data, and problems into errors that say what to do."""

import json

import httpx
import pytest

from stepwell.cli.client import Client
from stepwell.cli.logins import Login
from stepwell.cli.runs import OverHttp
from stepwell.cli.where import whole
from stepwell.errors import Bug, Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable

LOGIN = Login("http://ci.example.com", "sw_x")


def client(*answers: httpx.Response, seen: list[httpx.Request] | None = None) -> Client:
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return left.pop(0)

    return Client(LOGIN, httpx.MockTransport(handle))


def test_token_travels_in_the_header_and_empty_queries_not_at_all() -> None:
    seen: list[httpx.Request] = []
    with client(httpx.Response(200, json={"items": []}), seen=seen) as api:
        assert api.get("/runs", tenant="acme", state=None) == {"items": []}
    assert seen[0].headers["authorization"] == "Bearer sw_x"
    assert str(seen[0].url) == "http://ci.example.com/api/v1/runs?tenant=acme"


def test_a_run_of_many_steps_is_read_page_by_page() -> None:
    seen: list[httpx.Request] = []
    first = {"summary": {"id": "r1"}, "steps": [{"key": "a#1"}], "steps_next": 1}
    pages = ({"items": [{"key": "b#1"}], "next": 2}, {"items": [{"key": "c#1"}], "next": None})
    with client(*(httpx.Response(200, json=page) for page in pages), seen=seen) as api:
        assert whole(api, first) == {"id": "r1", "steps": [{"key": key} for key in ("a#1", "b#1", "c#1")]}
    assert [str(one.url).rpartition("/v1")[2] for one in seen] == ["/runs/r1/steps?after=1", "/runs/r1/steps?after=2"]


def test_who_follows_a_run_asks_for_steps_that_are_over_once() -> None:
    def page(ended: float | None, following: int | None) -> httpx.Response:
        return httpx.Response(200, json={"items": [{"ended_at": ended}], "next": following})

    seen: list[httpx.Request] = []
    first = {"summary": {"id": "r1"}, "steps": [{"ended_at": 1.0}], "steps_next": 1}
    looks = (page(2.0, 2), page(None, 3), page(3.0, None)), (page(4.0, 3), page(3.0, None)), (page(3.0, None),)
    told = [httpx.Response(200, json=first), *looks[0], httpx.Response(200, json=first), *looks[1]]
    with client(*told, httpx.Response(200, json=first), *looks[2], seen=seen) as api:
        source = OverHttp(api, "r1")
        ends = [[step["ended_at"] for step in source.view()["steps"]] for _ in looks]
    assert ends == [[1.0, 2.0, None, 3.0], [1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 4.0, 3.0]]
    assert [one.url.params.get("after") for one in seen] == [None, "1", "2", "3", None, "2", "3", None, "3"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (401, Denied), (403, Denied), (404, NotFound), (409, Conflict), (422, Invalid), (429, TryLater),
     (500, Bug), (503, Unavailable)],
)  # fmt: skip
def test_problem_becomes_its_error(status: int, kind: type[StepwellError]) -> None:
    with (
        client(httpx.Response(status, json={"detail": "This is why."})) as api,
        pytest.raises(kind, match=r"This is why\."),
    ):
        api.get("/x")


def test_refused_token_says_how_to_sign_in() -> None:
    with (
        client(httpx.Response(401, json={"detail": "No."})) as api,
        pytest.raises(Denied, match="stepwell login http://ci"),
    ):
        api.get("/x")


def test_answer_that_is_no_problem_document_still_has_a_message() -> None:
    with client(httpx.Response(502, text="<html>")) as api, pytest.raises(Bug, match="502: Bad Gateway"):
        api.get("/x")


def test_server_that_does_not_answer_says_how_to_start_one() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with Client(LOGIN, httpx.MockTransport(refuse)) as api, pytest.raises(Unavailable, match="stepwell up"):
        api.get("/x")


def test_body_is_json() -> None:
    seen: list[httpx.Request] = []
    with client(httpx.Response(204), seen=seen) as api:
        assert api.put("/repos/a/b/secrets/K", value="v", environment="") is None
    assert json.loads(seen[0].content) == {"value": "v", "environment": ""}


def test_log_of_a_step_quotes_its_key() -> None:
    seen: list[httpx.Request] = []
    with client(httpx.Response(200, content=b"line\n"), seen=seen) as api:
        assert api.log("r1", "test 3.11/x#1", 7, 2) == b"line\n"
    assert seen[0].url.raw_path == b"/api/v1/runs/r1/steps/test%203.11%2Fx%231/log?offset=7&attempt=2"
