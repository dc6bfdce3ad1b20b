"""Processors among tenants: however many isolates one has, together they weigh about as much as one of another's.

Each isolate has a cgroup of its own already when nobody knows yet whose it will be, and moving a process costs
milliseconds (docs/decisions/tenants-side-by-side.md). So there is none for the tenant: its isolates' weights are
lowered as they become more, by halves, so that of n only log n times all of them have to be told. And nobody has to be
told anything while only one tenant has isolates: there is nobody to share with.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from stepwell_runners.isolate import Isolate


@dataclass
class _Tenant:
    isolates: set[Isolate] = field(default_factory=set)
    part: int = 1  # each has this part of a whole weight: 1, 2, 4, …


class Weights:
    """Keeps the weights of running isolates. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tenants: dict[int, _Tenant] = {}

    def add(self, index: int, isolate: Isolate) -> None:
        """Count an isolate of the tenant with this index, until it ends."""
        if isolate.cgroup is None or isolate.cgroup.cpu is None:
            return
        tenant = self._tenants.setdefault(index, _Tenant())
        tenant.isolates.add(isolate)
        isolate.on_end(lambda: self._drop(index, isolate))
        if len(self._tenants) == 2 and len(tenant.isolates) == 1:  # the other one was alone
            for one in self._tenants.values():
                _divide(one)
        elif (len(self._tenants) == 1 or not _divide(tenant)) and tenant.part > 1:
            _weigh(isolate, tenant.part)  # as much as its tenant's others

    def _drop(self, index: int, isolate: Isolate) -> None:
        tenant = self._tenants[index]
        tenant.isolates.discard(isolate)
        if not tenant.isolates:
            del self._tenants[index]
        elif len(self._tenants) > 1:
            _divide(tenant)


def _divide(tenant: _Tenant) -> bool:
    """Give each another part where their number asks for one; whether it does."""
    part = 1 << (len(tenant.isolates).bit_length() - 1)
    if part == tenant.part:
        return False
    tenant.part = part
    for isolate in tenant.isolates:
        _weigh(isolate, part)
    return True


def _weigh(isolate: Isolate, part: int) -> None:
    if isolate.cgroup is not None:
        with suppress(OSError):  # it is ending, and its cgroup is gone
            isolate.cgroup.weigh(part)
