"""Tenants, people, their ways in and their rights; secrets and the record of every change of power."""

from stepwell.tenants.actors import NOBODY, Actor
from stepwell.tenants.tenants import Tenants, TenantView

__all__ = ["NOBODY", "Actor", "TenantView", "Tenants"]
