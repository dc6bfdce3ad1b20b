import io

from links.app import App
from links.store import Store


def call(app: App, method: str, path: str, body: str = "") -> tuple[str, dict[str, str], str]:
    answered: list[tuple[str, dict[str, str]]] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    content = app(environ, lambda status, headers: answered.append((status, dict(headers))))
    status, headers = answered[0]
    return status, headers, b"".join(content).decode()


def test_short_link_redirects(store: Store) -> None:
    app = App(store)
    status, _, path = call(app, "POST", "/", "https://example.com/a/long/way")
    assert status == "201 Created"
    status, headers, _ = call(app, "GET", path.strip())
    assert (status, headers["Location"]) == ("302 Found", "https://example.com/a/long/way")


def test_unknown_link_is_not_found(store: Store) -> None:
    assert call(App(store), "GET", "/zzz")[0] == "404 Not Found"
    assert call(App(store), "GET", "/")[0] == "404 Not Found"
    assert call(App(store), "GET", "/0O1l")[0] == "404 Not Found"


def test_anything_but_a_url_is_refused(store: Store) -> None:
    status, _, text = call(App(store), "POST", "/", "javascript:alert(1)")
    assert status == "400 Bad Request"
    assert "http://" in text
