"""What home and the first pages of a repository tell, over the services that a server has."""

import asyncio
import re
from pathlib import Path

import httpx
from fixture_services import services
from places import Place

from stepwell import ci
from stepwell.tenants import Actor
from stepwell_web.app import create_app
from stepwell_web.auditwords import WORDS


def asked(place: Place, actor: Actor, path: str, form: dict[str, str] | None = None) -> httpx.Response:
    """What somebody who is signed in is answered; with a form they send it."""
    transport = httpx.ASGITransport(create_app(place.services))
    headers = {"Cookie": f"stepwell={place.services.tenants.sessions.open(actor.person)}", "Origin": "http://ci.test"}

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test", headers=headers) as web:
            return await (web.get(path) if form is None else web.post(path, data=form))

    return asyncio.run(ask())


def test_home_tells_the_last_run_of_each_repository(place: Place) -> None:
    clone = place.repository()
    place.repository("about")
    clone.pipeline()
    clone.push()
    place.waiting(clone.runs()[0].id)
    for path in ("/", "/acme"):
        listed = asked(place, place.admin(), path).text.partition('id="places"')[2]
        api, about = listed.split("</li>")[:2]  # the last active one first
        assert ("acme/api" in api, "Waiting" in api, "No runs yet" in api) == (True, True, False)
        assert ("acme/about" in about, "No runs yet" in about) == (True, True)


def test_home_folds_the_repositories_that_were_not_active_lately(place: Place) -> None:
    for number in range(14):
        place.repository(f"r{number:02}")
    page = asked(place, place.admin(), "/").text
    assert "<details class" not in page.partition('id="places"')[2].partition("</section>")[0]
    place.repository("r14")
    first, _, others = asked(place, place.admin(), "/").text.partition('id="places"')[2].partition("3 more</summary>")
    assert (first.count("</li>"), others.partition("</details>")[0].count("</li>")) == (12, 3)


def test_a_repository_to_which_nothing_was_pushed_greets_with_the_guide(place: Place) -> None:
    place.repository()
    for path in ("/acme/api", "/acme/api/pipelines"):
        page = asked(place, place.admin(), path).text
        assert ("cannot be read" in page, "octagon" in page, 'class="failure' in page) == (False, False, False)
        assert "git push stepwell HEAD:main" in page


def test_the_inbox_counts_what_this_person_may_decide(place: Place) -> None:
    admin, clone = place.admin(), place.repository()
    people = [place.person("ann", "developer"), place.person("bob", "developer"), place.person("eve", "viewer")]
    reviewer, other, viewer = people
    place.services.environments.put(admin, "acme", "api", "production", reviewers=["admin", "ann"], count=2)
    clone.pipeline()
    clone.push(actor=other)
    run = clone.runs()[0].id
    (approval,) = place.waiting(run).approvals

    def badges() -> list[int]:
        pages = [asked(place, person, "/approvals").text for person in (admin, *people)]
        found = [int(page.split('aria-label="Approvals, ')[1].partition(" ")[0]) for page in pages]
        assert found == [0 if "Nothing waits for you" in page else 1 for page in pages]
        return found

    assert badges() == [1, 1, 0, 0]
    place.services.runs.decide(reviewer, run, approval.key, approve=True)
    assert badges() == [1, 0, 0, 0]
    place.services.environments.put(admin, "acme", "api", "production", reviewers=["bob"])
    assert badges() == [0, 0, 1, 0]
    for person, path in ((other, "/approvals"), (viewer, "/")):
        code = place.services.tenants.links.issue(person.name)
        assert asked(place, person, "/signin", {"code": code}).headers["location"] == path


async def test_home_shows_three_approvals_and_leads_to_all(tmp_path: Path) -> None:
    app = create_app(services(tmp_path))  # type: ignore[arg-type]
    headers = {"Cookie": "stepwell=admin-session"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://testserver", headers=headers
    ) as web:
        home, inbox = (await web.get("/")).text, (await web.get("/approvals")).text
    assert (home.count('class="gate"'), "All 4 approvals" in home) == (3, True)
    assert inbox.count('class="gate"') == 4
    labels = [part.partition('"')[0] for part in inbox.split('class="gate" id="')]
    assert len(set(labels)) == len(labels)


def test_the_audit_log_says_in_words_who_decided_what(place: Place) -> None:
    clone, admin = place.repository(), place.admin()
    clone.pipeline()
    clone.push()
    run = clone.runs()[0].id
    key = place.waiting(run).approvals[0].key
    place.services.runs.decide(admin, run, key, approve=True, comment="go", fields={"version": "2"})
    place.services.tenants.secrets.put(admin, "acme", "KEY", "correct horse")
    page = asked(place, admin, "/acme/-/audit").text
    assert 'title="secret.put">set a secret<' in page
    entry = page[page.index('title="approval.approve">approved<') :].partition("</li>")[0]
    for words in ("<b>api#1</b>", "step: Ship it?", "environment: production", "comment: go"):
        assert words in entry


def test_every_action_that_is_written_down_has_words() -> None:
    written = {
        action
        for path in Path(ci.__file__).parents[1].rglob("*.py")
        for action in re.findall(r'"((?:[a-z]+\.)+[a-z_]+)"', " ".join(path.read_text().partition("udit.add(")[2:]))
        if action.partition(".")[0] in {code.partition(".")[0] for code in WORDS}
    }
    assert {"secret.put", "member.put", "repository.create"} <= written <= set(WORDS)


def test_a_repositorys_name_that_is_taken_is_told_at_its_field_on_the_page_that_asked(place: Place) -> None:
    place.repository()
    for at, heading in (("", "<h1>Home</h1>"), ("acme", 'aria-label="Tenant"')):
        for name, status, words in (("api", 409, "There is a repository"), ("plans", 422, "is a word of Stepwell")):
            answer = asked(place, place.admin(), "/new", {"tenant": "acme", "name": name, "at": at})
            assert (answer.status_code, heading in answer.text) == (status, True)
            field = answer.text.partition('<label>Name<input name="name"')[2].partition("</label>")[0]
            assert f'value="{name}" aria-invalid="true" autofocus' in field and words in field
            assert f'data-address="/{at}"' in answer.text
    made = asked(place, place.admin(), "/new", {"tenant": "acme", "name": "web", "at": "acme"})
    assert (made.status_code, made.headers["location"]) == (303, "/acme/web")


def test_what_is_refused_in_the_settings_is_told_at_its_field_and_nothing_typed_is_lost(place: Place) -> None:
    place.repository()
    here = "/acme/api/settings"
    rules = {"name": "stage", "count": "2", "reviewers": "nobody", "branches": "release/*", "wait": "5 minutes"}
    for field, wrong in (("reviewers", "nobody"), ("name", "a b"), ("count", "101"), ("wait", "soon")):
        typed = {**rules, "reviewers": "", field: wrong, "forbid_author": "yes"}
        answer = asked(place, place.admin(), f"{here}/environments", typed)
        assert (answer.status_code, f'data-address="{here}"' in answer.text) == (422, True)
        form = answer.text.partition('id="environment">')[2].partition("</form>")[0]
        assert [value for value in typed.values() if f'value="{value}"' not in form] == []
        assert "Add an environment" in form and "readonly" not in form and "checked" in form
        told = form.partition(f'name="{field}"')[2].partition("</label>")[0]
        assert 'aria-invalid="true" autofocus' in told and 'class="field-wrong" role="alert"' in told
    general = {"description": "mine", "default_branch": "trunk", "protected": "a, b", "keep_artifacts_days": "7"}
    answer = asked(place, place.admin(), here, general)
    form = answer.text.partition(f'method="post" action="{here}">')[2].partition("</form>")[0]
    assert (answer.status_code, [v for v in general.values() if f'value="{v}"' not in form]) == (404, [])
    assert "There is no branch &#39;trunk&#39;. Push it first." in form


def test_the_way_back_from_a_refused_form_leads_to_its_page(place: Place) -> None:
    place.repository()
    for path, back in (
        ("/acme/api/settings/secrets", "/acme/api/settings"),
        ("/acme/-/secrets", "/acme/-/secrets"),
    ):
        answer = asked(place, place.admin(), path, {"name": "no name", "value": "v", "given": "every"})
        assert (answer.status_code, f'href="{back}">Back</a>' in answer.text) == (422, True)
