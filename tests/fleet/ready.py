"""`python -m tests.fleet.ready demo ...`: `headwater demo ...`, save that `portal init` finds today's tables.

Making them takes ten seconds of processor time, and the tests start a dozen demos. `test_demo_check.py` starts one from
nothing, as a person does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.cli import main
from headwater.demo.system import System
from tests.migrated import copy_tables

if TYPE_CHECKING:
    from collections.abc import Callable


def with_tables(portal: Callable[..., str]) -> Callable[..., str]:
    """Wrap `System.portal` so that the portal's tables are there before `portal init`."""

    def run(system: System, *arguments: str, **options: Any) -> str:
        if arguments == ("init",):
            copy_tables(system.directory / "portal" / "portal.sqlite3")
        return portal(system, *arguments, **options)

    return run


if __name__ == "__main__":
    System.portal = with_tables(System.portal)  # type: ignore[method-assign]
    main()
