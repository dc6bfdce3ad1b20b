"""Tenants, people, tokens, roles, secrets, audit."""
