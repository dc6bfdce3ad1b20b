"""Tenants, people, their ways in and their rights; secrets and the record of every change of power."""
