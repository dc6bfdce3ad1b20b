"""Asking before something goes for good: a page that names it. It works without a script."""

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.responses import Response

from stepwell_web.visits import Visit, text


@dataclass(frozen=True)
class Going:
    """What is about to go, and what that means."""

    question: str  # "Delete the secret DEPLOY_KEY?"
    words: str
    deed: str  # word on the button
    back: str  # path of the page that it stands on


def confirmed(form: FormData) -> bool:
    """Say whether the form comes from the page that asks."""
    return text(form, "sure", "") == "yes"


def ask(visit: Visit, form: FormData, going: Going, crumbs: list[tuple[str, str]]) -> Response:
    """Show what is about to go; the button there sends the same form again. The caller has checked the rights."""
    sent = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name != "sure"]
    return visit.page("going.html", crumbs=crumbs, going=going, action=visit.request.url.path, sent=sent)
