"""`stepwell bench`: measure this machine and print the figures.

Measuring functions live in `bench_<room>.py` beside this file: each has `MEASURES`, a mapping from a figure's name to
a function without arguments that returns a Sample. They are found by name, so a room adds a figure by adding a file.
"""

import importlib
import pkgutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from stepwell.ci.memory import share_one_arena
from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.errors import Invalid, Unavailable


@dataclass(frozen=True)
class Sample:
    """What was measured, one value a repetition, in `unit` ("ms", "steps/s")."""

    values: tuple[float, ...]
    unit: str

    @property
    def higher_is_better(self) -> bool:
        """Rates are better when high; then p95 is the value that 95 % reached."""
        return self.unit.endswith("/s")

    def as_json(self) -> dict[str, Any]:
        """The figure: median, p95, unit, n."""
        ordered = sorted(self.values, reverse=self.higher_is_better)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return {
            "median": round(statistics.median(ordered), 3),
            "p95": round(p95, 3),
            "unit": self.unit,
            "n": len(ordered),
        }


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Figures to measure; all when left out.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only list the names.")] = False,
    json: JsonFlag = False,
) -> None:
    """Measure this machine. Let it be quiet meanwhile. A figure whose parts this host lacks is left out, and named.

    STEPWELL_BENCH_PARKED says how many runs wait for the figures parked_…: 10,000 when it is not set.
    """
    known = measures()
    if listed:
        show_json(sorted(known)) if json else show_table(("FIGURE",), ((name,) for name in known))
        return
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise Invalid(f"There is no figure {unknown[0]!r}. Known are: {', '.join(known)}.")
    share_one_arena()
    found = {}
    for name in names or known:
        say(f"measuring {name}", "dim")
        try:
            found[name] = known[name]().as_json()
        except Unavailable as error:
            say(f"not measured: {error}", "yellow")
            if name in (names or ()):
                raise
    if json:
        show_json(found)
        return
    rows = ((name, f"{one['median']:g}", f"{one['p95']:g}", one["unit"], str(one["n"])) for name, one in found.items())
    show_table(("FIGURE", "MEDIAN", "P95", "UNIT", "N"), rows)


def measures() -> dict[str, Callable[[], Sample]]:
    """Every measuring function of the rooms, by the figure's name."""
    import stepwell.cli as package

    found: dict[str, Callable[[], Sample]] = {}
    for module in sorted(
        info.name for info in pkgutil.iter_modules(package.__path__) if info.name.startswith("bench_")
    ):
        given: Mapping[str, Callable[[], Sample]] = importlib.import_module(f"stepwell.cli.{module}").MEASURES
        found.update(given)
    return found
