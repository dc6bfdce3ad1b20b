"""Pipelines of repositories: triggers, environments, approvals, use of secrets."""
