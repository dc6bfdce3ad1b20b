"""What was done, in words: the audit log keeps codes, which programs read; people read these."""

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "approval.approve": "approved",
    "approval.reject": "rejected",
    "artifacts.remove": "removed old artifacts",
    "caches.remove": "removed caches",
    "environment.put": "set up an environment",
    "environment.remove": "deleted an environment",
    "member.put": "gave a role",
    "member.remove": "removed a member",
    "person.add": "added a person",
    "person.password": "set a password",
    "quota.put": "set a quota",
    "registry.put": "set a registry’s password",
    "registry.remove": "deleted a registry’s password",
    "repository.create": "created a repository",
    "repository.promote": "moved a ref from a run",
    "repository.promote.refused": "was refused to move a ref from a run",
    "repository.remove": "deleted a repository",
    "repository.update": "changed a repository",
    "run.cancel": "cancelled a run",
    "run.kill_isolate": "ended a run’s process",
    "run.pause": "paused a run",
    "run.restart": "restarted a run from a step",
    "run.resume": "resumed a run",
    "run.terminate": "terminated a run",
    "runs.cancel": "cancelled runs",
    "runs.pause": "paused runs",
    "runs.restart": "restarted runs",
    "runs.resume": "resumed runs",
    "runs.terminate": "terminated runs",
    "runs.remove": "removed old runs",
    "secret.limit": "changed who is given a secret",
    "secret.put": "set a secret",
    "secret.remove": "deleted a secret",
    "tenant.create": "created a tenant",
    "token.issue": "made a token",
    "token.revoke": "revoked a token",
}


def did(action: str) -> str:
    """Say what a code of the audit log means; one without words stands for itself."""
    return WORDS.get(action, action)
