"""What steps keep beside the workspace: on pages with JavaScript off, over the API and by command."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browsers import sign_in
from command_line import Terminal
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

from stepwell.store.blobs import BlobFiles

pytestmark = pytest.mark.chromium
PIPELINE = r"""from stepwell import Pipeline, push

MAKE = r'''
mkdir -p dist/docs
echo '<script>document.title = "owned"</script>' > dist/docs/index.html
printf '\211PNG\r\n\032\n' > dist/logo.png; head -c 100000 /dev/urandom > dist/app.bin
printf 'caf\303\251\n' > 'dist/a "b" <i>.txt'
'''

class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("build", MAKE, artifacts=["dist/**"])
        await step.run("look", "test ! -e dist")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("files") / "state")
    live.start()
    yield live
    live.stop()


@pytest.fixture(scope="module")
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, server)
    yield page
    context.close()


def push(server: LiveServer, tree: Path, name: str, source: str, state: str) -> str:
    """Push a pipeline to a new repository and wait for its run to end; the run's id."""
    write_pipeline(tree, source)
    commit_all(tree, "Make it")
    git("push", server.create_repository(name), "HEAD:main", cwd=tree)
    run = str(server.runs(name)[0]["id"])
    server.wait_for_state(run, {state})
    return run


def raw(server: LiveServer, path: str, /, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.get(f"{server.url}/api/v1{path}", headers=headers, params=query, timeout=60)


def test_artifacts_are_shown_saved_and_never_run(server: LiveServer, page: Page, tmp_path: Path) -> None:
    run = push(server, tmp_path / "tree", "kept", PIPELINE, "passed")
    listed = server.api("GET", f"/runs/{run}/artifacts", params={"step": "build#1"})["items"]
    assert [one["path"] for one in listed] == [
        'dist/a "b" <i>.txt', "dist/app.bin", "dist/docs/index.html", "dist/logo.png",
    ]  # fmt: skip
    assert server.run(run)["steps"][0]["collected"]["artifacts"] == 4

    page.goto(f"{server.url}/acme/kept/runs/1")
    page.get_by_label("Run", exact=True).get_by_role("link", name="Artifacts 4").click()
    expect(page.locator(".files li")).to_have_count(4)
    page.get_by_role("link", name="dist/docs/index.html", exact=True).click()
    expect(page.locator(".preview-text")).to_have_text('<script>document.title = "owned"</script>')
    page.get_by_role("link", name='dist/a "b" <i>.txt', exact=True).click()
    expect(page.locator(".preview-text")).to_have_text("caf\xe9")
    page.get_by_role("link", name="dist/app.bin", exact=True).click()
    expect(page.locator(".preview-none")).to_have_text("There is no preview of files that are not text.")
    page.get_by_role("link", name="dist/logo.png", exact=True).click()
    assert page.locator(".preview-picture img").get_attribute("src")

    file = f"/runs/{run}/artifacts/file"
    for path, picture in (("dist/docs/index.html", "1"), ("dist/app.bin", ""), ("dist/logo.png", "")):
        answer = raw(server, file, step="build#1", path=path, **({"picture": picture} if picture else {}))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert raw(server, file, step="build#1", path="dist/logo.png", picture="1").headers["content-type"] == "image/png"
    for path in ("../../../key", "/etc/passwd", "dist"):
        assert raw(server, file, step="build#1", path=path).status_code == 404
    zipped = zipfile.ZipFile(io.BytesIO(raw(server, f"/runs/{run}/artifacts.zip").content))
    assert zipped.testzip() is None and len(zipped.read("dist/app.bin")) == 100_000

    person = Terminal(tmp_path, {"STEPWELL_URL": server.url, "STEPWELL_TOKEN": server.token})
    assert "100000" in person.stepwell("artifacts", "acme/kept#1").stdout
    done = person.stepwell("artifacts", "acme/kept#1", "--only", "dist/**/*.html", "--to", "got", "--json")
    assert [one["path"] for one in json.loads(done.stdout)] == ["dist/docs/index.html"], done.stderr
    assert (tmp_path / "got/dist/docs/index.html").read_text().startswith("<script>")
    assert "no such artifacts" in person.stepwell("artifacts", "acme/kept#1", "--only", "x", "--to", "got").stderr

    again = server.api("POST", f"/runs/{run}/restart", json={"from_step": "look"})["id"]
    server.wait_for_state(again, {"passed"})
    assert raw(server, f"/runs/{again}/artifacts/file", step="build#1", path="dist/app.bin").content == zipped.read(
        "dist/app.bin"
    )

    BlobFiles(server.state / "blobs").expire(run, [one["id"] for one in listed], 1_790_000_000.0)  # as retention does
    page.goto(f"{server.url}/acme/kept/runs/1/artifacts")
    head = page.locator(".artifacts .file-head")
    expect(head).to_contain_text(re.compile("removed .* by retention"))
    expect(page.locator(".files li")).to_have_count(4)
    expect(page.locator(".artifacts a[download]")).to_have_count(0)
    gone = raw(server, file, step="build#1", path="dist/app.bin")
    assert gone.status_code == 404 and "removed on 2026-09-21 by retention" in gone.text
    assert {one["removed_at"] for one in server.api("GET", f"/runs/{run}/artifacts")["items"]} == {1_790_000_000.0}
    told = person.stepwell("artifacts", "acme/kept#1", "--only", "dist/app.bin", "--to", "late")
    assert told.returncode != 0 and "by retention" in told.stderr


TESTED = r"""from stepwell import Pipeline, push

REPORT = '''<testsuite name="s"><testcase classname="test_a" name="test_good" time="0.5"/>
<testcase classname="test_a" name="test_bad[&lt;img src=x&gt;]" file="test_a.py" line="3"><failure message="1 is not 2">
Traceback &lt;b&gt;</failure></testcase></testsuite>'''

class Check(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("types", "echo '<x' > broken.xml; mkdir a; cp broken.xml a/junit.xml", junit=["**/*.xml"])
        await step.run("test", ["sh", "-c", "printf '%s' \"$REPORT\" > junit.xml; exit 1"], env={"REPORT": REPORT},
                       junit=["junit.xml"])
"""


CACHED = """from stepwell import Pipeline, push

class Build(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("install", "mkdir -p deps; test -e deps/a && echo HIT; echo a > deps/a; ls",
                       cache={"key": "deps-{pin}", "paths": ["deps"], "fallback": ["deps-"]})
        await step.run("look", "test ! -e deps")
"""


def test_a_later_run_has_the_cache_of_an_earlier_one(server: LiveServer, tmp_path: Path) -> None:
    tree, person = tmp_path / "tree", Terminal(tmp_path, {"STEPWELL_URL": server.url, "STEPWELL_TOKEN": server.token})
    tree.mkdir()
    (tree / "pin").write_text("1")
    push(server, tree, "cached", CACHED, "passed")
    (tree / "other").write_text("2")
    commit_all(tree, "Another file")
    git("push", f"http://tests:{server.token}@127.0.0.1:{server.port}/acme/cached.git", "HEAD:main", cwd=tree)
    run = server.runs("cached")[0]["id"]
    server.wait_for_state(run, {"passed"})
    log = raw(server, f"/runs/{run}/steps/install%231/log").text
    assert "HIT" in log and "of main is restored: 1 file." in log and "saved" not in log
    [one] = server.api("GET", "/repos/acme/cached/caches")["items"]
    assert one["branch"] == "main" and one["key"].startswith("deps-") and one["bytes"] == 2
    assert one["key"] in person.stepwell("cache", "list", "--repo", "acme/cached").stdout
    assert person.json("cache", "remove", "deps-", "--repo", "acme/cached") == {"removed": 1}
    assert server.api("GET", "/repos/acme/cached/caches")["items"] == []


REUSED = """from asyncio import gather
from stepwell import Pipeline, push

NEW = 'echo "id=$(cat /proc/sys/kernel/random/uuid)" >> $STEPWELL_OUTPUT; echo worked on $STEPWELL_STEP'

class Check(Pipeline):
    on = [push()]

    async def run(self, event, step):
        one, two, made = await gather(
            step.run("test a", NEW, reuse=["src/a/**"]),
            step.run("test b", NEW, reuse=["src/b/**", "uv.lock"]),
            step.run("build", "mkdir out; cat src/a/f src/b/f > out/all; " + NEW, reuse=["src/**"]),
        )
        seen = await step.run("use", "cat out/all; " + NEW)
        return [result.outputs["id"] for result in (one, two, made, seen)]
"""


def test_only_steps_whose_inputs_changed_run_again(server: LiveServer, page: Page, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name, text in {"src/a/f": "a", "src/b/f": "b", "uv.lock": "1", "docs/index.md": "x"}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    first = push(server, tree, "reused", REUSED, "passed")
    address = f"http://tests:{server.token}@127.0.0.1:{server.port}/acme/reused.git"

    def again(change: str, text: str, branch: str = "main") -> tuple[list[str], list[int | None], str]:
        (tree / change).write_text(text)
        commit_all(tree, f"Change {change}")
        git("push", address, f"HEAD:{branch}", cwd=tree)
        run = str(server.runs("reused")[0]["id"])
        server.wait_for_state(run, {"passed"})
        view = server.run(run)
        return view["result"], [step["reused"] and step["reused"]["number"] for step in view["steps"]], run

    before = server.run(first)["result"]
    after, reused, run = again("docs/index.md", "only documentation")
    assert after[:3] == before[:3] and after[3] != before[3] and reused == [1, 1, 1, None]
    log = raw(server, f"/runs/{run}/steps/use%231/log").text
    assert log.startswith("ab") and "worked on build" in raw(server, f"/runs/{run}/steps/build%231/log").text

    page.goto(f"{server.url}/acme/reused/runs/2?step=test-a")
    expect(page.locator("#steps small")).to_have_text(["reused from #1"] * 3)
    expect(page.locator(".log-way")).to_contain_text("Reused from run #1")

    changed, reused, run = again("uv.lock", "2")
    assert reused == [1, None, 1, None] and changed[0] == before[0] and changed[1] != before[1]
    changed, reused, run = again("src/a/f", "A")
    assert reused == [None, 3, None, None]
    assert raw(server, f"/runs/{run}/steps/use%231/log").text.startswith("Ab")
    _, reused, _ = again("docs/index.md", "a branch", "topic")  # sees what the default branch has
    assert reused == [4, 3, 4, None]
    rerun = server.api("POST", f"/runs/{run}/restart")["id"]
    server.wait_for_state(rerun, {"passed"})
    assert [step["reused"] for step in server.run(rerun)["steps"]] == [None] * 4


MOMENT = r"""from stepwell import Pipeline, StepFailed, push

class Work(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("first", "echo one > made; mkdir deep; echo x > deep/f; ln -s /etc/passwd out; "
                                "git commit -q --allow-empty -m kept; git tag kept")
        await step.run("change", "git describe --tags; echo two >> made; rm -r deep; printf '\\0' > bin; "
                                 "chmod +x README; truncate -s 3M big; printf 'a<b>\\n' > README.md")
        try:
            await step.run("fail", "echo lost > made; exit 1")
        except StepFailed:
            pass
"""


def test_the_files_of_a_step_are_shown_downloaded_and_entered(server: LiveServer, page: Page, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "README").write_text("hello\n")
    run = push(server, tree, "moment", MOMENT, "passed")
    changes = server.api("GET", f"/runs/{run}/steps/change%231/changes")["items"]
    assert [(one["path"], one["kind"], one["why"]) for one in changes] == [
        ("README", "mode", ""), ("README.md", "added", ""), ("big", "added", "It is too large to be shown."),
        ("bin", "added", "It is not text."), ("deep/f", "removed", ""), ("made", "changed", ""),
    ]  # fmt: skip
    assert changes[-1]["diff"].splitlines()[1:] == [" one", "+two"]
    moved = server.api("GET", f"/runs/{run}/steps/first%231/changes")["items"][:2]
    assert [(one["path"], one["kind"]) for one in moved] == [
        (".git/refs/heads/main", "changed"), (".git/refs/tags/kept", "added"),
    ]  # fmt: skip
    assert moved[0]["diff"].splitlines()[1] == f"-{server.run(run)['sha']}"
    assert server.api("GET", f"/runs/{run}/steps/fail%231/changes")["items"] == []

    page.goto(f"{server.url}/acme/moment/runs/1?step=change")
    page.get_by_role("link", name="Changed files").click()
    expect(page.locator(".diff").first).to_contain_text("+a<b>")
    expect(page.locator("#files")).to_contain_text("It is not text.")

    person = Terminal(tmp_path, {"STEPWELL_URL": server.url, "STEPWELL_TOKEN": server.token})
    assert "+two" in person.stepwell("diff", "acme/moment#1", "change").stdout
    seen = person.stepwell("shell", "acme/moment#1", "change", "--before", "-c", "cat made deep/f; pwd; exit 7")
    assert seen.returncode == 7 and seen.stdout.startswith("one\nx\n/tmp"), seen.stderr
    assert "Left out, for they lead elsewhere: out." in seen.stderr
    assert not Path(seen.stdout.splitlines()[-1]).exists()
    done = person.stepwell("shell", "acme/moment#1", "fail", "--to", "kept")
    assert done.returncode == 0 and (tmp_path / "kept/made").read_text() == "one\ntwo\n", done.stderr
    assert (tmp_path / "kept/big").stat().st_size == 3 << 20 and (tmp_path / "kept/README").stat().st_mode & 0o100
    assert person.stepwell("shell", "acme/moment#1", "fail", "--to", "kept").returncode == 2
    again = server.api("POST", f"/runs/{run}/restart", json={"from_step": "change"})["id"]
    server.wait_for_state(again, {"passed"})
    assert server.api("GET", f"/runs/{again}/steps/change%231/changes")["items"] == changes, "it stood on other files"
    assert raw(server, f"/runs/{again}/steps/change%231/log").text == "kept\n", "it stood on other commits"
    for word in ("changes", "workspace"):
        stranger = httpx.get(f"{server.url}/api/v1/runs/{run}/steps/change%231/{word}", timeout=60)
        assert stranger.status_code in (401, 404)


def test_failed_tests_are_told_first_wherever_they_are_looked_for(
    server: LiveServer, page: Page, tmp_path: Path
) -> None:
    run = push(server, tmp_path / "tree", "tested", TESTED, "failed")
    steps = {step["name"]: step["collected"] for step in server.run(run)["steps"]}
    tests = {name: steps["test"]["tests"][name] for name in ("total", "passed", "failed", "seconds")}
    assert tests == {"total": 2, "passed": 1, "failed": 1, "seconds": 0.5}
    assert steps["types"]["tests"]["problems"] == 2 and steps["types"]["reports"] == 2
    found = server.api("GET", f"/runs/{run}/tests", params={"state": "failed", "step": "test#1"})
    assert found["counts"]["total"] == 2 and [case["line"] for case in found["steps"][0]["cases"]] == [3]
    assert "Report broken.xml: It is no well-formed XML" in raw(server, f"/runs/{run}/steps/types%231/log").text

    page.goto(f"{server.url}/acme/tested/runs/1")
    page.get_by_label("Run", exact=True).get_by_role("link", name="Tests 1 failed").click()
    expect(page.locator(".tests h2").first).to_have_text("test")
    expect(page.locator(".case[open]")).to_contain_text("test_bad[<img src=x>]")
    expect(page.locator(".case[open] .preview-text")).to_have_text("Traceback <b>")
    expect(page.locator(".report-problem")).to_have_count(2)

    person = Terminal(tmp_path, {"STEPWELL_URL": server.url, "STEPWELL_TOKEN": server.token})
    done = person.stepwell("tests", "acme/tested#1", "--step", "test")
    assert done.returncode == 1 and "test_a::test_bad[<img src=x>]" in done.stdout and "test_good" not in done.stdout
