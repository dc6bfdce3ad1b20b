"""Who may fetch and push: the token that git sends as its password decides, the user name does not matter."""

import asyncio

from stepwell.tenants.tenants import Tenants
from stepwell_web.git import Access, Action, Authorize, Unauthorized


def authorizer(tenants: Tenants) -> Authorize:
    """Return the check that the git endpoint makes for each request."""

    def check(tenant: str, repository: str, password: str | None, action: Action) -> Access:
        actor = tenants.tokens.actor(password) if password else None
        if actor is None:
            raise Unauthorized("Give an access token as the password." if not password else "This token is not valid.")
        return Access(tenants.scope.repository(actor, tenant, repository, action).id, actor)

    async def authorize(tenant: str, repository: str, user: str | None, password: str | None, action: Action) -> Access:
        return await asyncio.to_thread(check, tenant, repository, password, action)

    return authorize
