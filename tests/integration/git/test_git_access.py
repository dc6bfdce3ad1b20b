"""Who gets in, and what those who do not are told."""

import urllib.error
import urllib.request
from typing import Any

import pytest


def get(url: str) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_missing_token_is_asked_for(server: Any, client: Any) -> None:
    status, _, headers = get(server.url(token=None) + "/info/refs?service=git-upload-pack")
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic")
    assert "could not read Username" in client.run("ls-remote", server.url(token=None), fails=True)


def test_bad_token_is_refused(server: Any, client: Any) -> None:
    assert "Authentication failed" in client.run("ls-remote", server.url(token="wrong"), fails=True)


def test_stranger_and_missing_repository_get_the_same_answer(server: Any, client: Any) -> None:
    stranger = client.run("ls-remote", server.url(token="stranger-token"), fails=True)
    missing = client.run("ls-remote", server.url("acme/none.git"), fails=True)
    assert "There is no repository acme/api, or you may not see it." in stranger
    assert "There is no repository acme/none, or you may not see it." in missing


def test_row_without_directory_is_not_found(server: Any, client: Any) -> None:
    assert "not there any more" in client.run("ls-remote", server.url("acme/gone.git"), fails=True)


def test_reader_who_pushes_is_told_why_not(server: Any, client: Any) -> None:
    client.commit()
    url = server.url(token="viewer-token")
    client.run("ls-remote", url)
    assert "remote: You may read acme/api but not push to it." in client.run("push", url, "main", fails=True)


@pytest.mark.parametrize(("name", "words"), [("a..b.git", "'..'"), ("x.git.git", "'.git'"), ("-x.git", "not valid")])
def test_odd_name_is_refused_with_the_reason(server: Any, client: Any, name: str, words: str) -> None:
    assert words in client.run("ls-remote", server.url(f"acme/{name}"), fails=True)


def test_encoded_dots_never_leave_the_repositories(server: Any) -> None:
    for path in ("acme/%2e%2e.git", "acme/..%2f..%2fetc.git", "%2e%2e/api.git"):
        status, _, _ = get(server.url(path, token=None) + "/info/refs?service=git-upload-pack")
        assert status in (400, 401, 404)


def test_dumb_protocol_is_refused(server: Any) -> None:
    for path in ("/info/refs", "/HEAD", "/objects/info/packs"):
        status, text, _ = get(server.url(token=None) + path)
        assert (status, "smart protocol" in text) == (403, True)
