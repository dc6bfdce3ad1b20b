"""What a run's metadata say that lists look for, as an expression over its row, and the indexes that find it.

SQLite uses an index of an expression for queries that have the very same one, so both take it from here. What is
not JSON – a damaged row, until `stepwell doctor --rebuild` – says nothing, and keeps no file from being opened.

`runs_of_tenant` is read from end to end by lists of all of a tenant's runs: what they are narrowed by stands in it, so
that only the rows that fit are looked up. Of 200,000 runs that takes a twentieth of the time.
"""

COMMIT_CHARACTERS = 12
"""Of a commit's id, as many as an index keeps: they tell commits of a repository apart at a third of the bytes."""


def told(name: str) -> str:
    """Give the expression for a field of the metadata; `name` is ours."""
    return f"CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.{name}') END"


def commit_told() -> str:
    """Give the expression for the beginning of the commit's id."""
    return f"substr({told('commit')}, 1, {COMMIT_CHARACTERS})"


# Runs without these fields, which belong to no repository, cost nothing there.
SCHEMA = f"""
CREATE INDEX IF NOT EXISTS runs_by_pipeline ON runs(scope, {told("pipeline")}, number)
    WHERE {told("pipeline")} IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_by_branch ON runs(scope, {told("branch")}, number)
    WHERE {told("branch")} IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_by_commit ON runs(scope, {commit_told()}, number)
    WHERE {told("commit")} IS NOT NULL;
DROP INDEX IF EXISTS runs_by_tenant;
CREATE INDEX IF NOT EXISTS runs_of_tenant
    ON runs(tenant, created_at, {told("pipeline")}, {told("branch")}, {told("actor")}, {told("kind")});
"""
