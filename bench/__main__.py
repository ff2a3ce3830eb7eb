"""``python -m bench [SCENARIO…]``: run the named scenarios, or all, and print each table when it is complete."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Iterator
from types import ModuleType

from bench import scenarios
from bench.ground import ground


def main(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    known = {module.name: module.name for module in pkgutil.iter_modules(scenarios.__path__)}
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=", ".join(known))
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    options = parser.parse_args(arguments)
    chosen = [_module(name) for name in options.scenario or known if name in known]
    if unknown := [name for name in options.scenario if name not in known]:
        parser.error(f"unknown scenario {', '.join(unknown)}; known are {', '.join(known)}")
    if options.list:
        for module in chosen:
            print(f"{_name(module):12} {(module.__doc__ or '').splitlines()[0]}")
        return 0
    if os.geteuid() != 0:
        sys.exit("bench starts engines and containers: it needs root")
    _run(chosen)
    return 0


def _run(chosen: list[ModuleType]) -> None:
    print("\n".join(_machine()), flush=True)
    with ground() as prepared:
        for module in chosen:
            began = time.monotonic()
            print(f"\n{_name(module)}: {(module.__doc__ or '').splitlines()[0]}\n", flush=True)
            for table in module.run(prepared):
                print(table, flush=True)
            print(f"({time.monotonic() - began:.0f} s)", flush=True)


def _machine() -> Iterator[str]:
    yield f"machine: {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    yield f"load: {' '.join(f'{load:.1f}' for load in os.getloadavg())} before the start"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.scenarios.{name}")


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
