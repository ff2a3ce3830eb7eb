"""A module imports from lower layers and from its own package; adapters and core do not import adapters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "criwist"

#: Package or module to layer, as docs/architecture.md draws them.  The longest name that matches counts.
LAYERS = {
    **dict.fromkeys(
        (
            "__init__",
            "api",
            "errors",
            "labels",
            "locks",
            "names",
            "pause",
            "quantities",
            "records.atomic_files",
            "reference",
            "syscalls",
            "threads",
        ),
        0,
    ),
    **dict.fromkeys(("config", "engine_differences", "interfaces"), 1),
    **dict.fromkeys(("wire", "translate", "netconf", "command_line.go_flags"), 2),
    **dict.fromkeys(("docker", "network", "kernel", "logs", "records", "daemon"), 3),
    "core": 4,
    **dict.fromkeys(("rpc", "streaming", "metrics"), 5),
    **dict.fromkeys(("service", "command_line", "demo"), 6),
}
#: Rooms of ``core`` to floor; the longest name that matches counts.  A room imports from lower floors and from itself.
CORE_FLOORS = {
    **dict.fromkeys(("__init__", "host_files", "undo", "images"), 0),
    "state": 1,
    "name_conflict": 1,
    **dict.fromkeys(("containers", "exec", "node", "sandboxes", "stats"), 2),
    "recovery": 3,
    "assembly": 4,
}
ADAPTERS, CORE = 3, 4


def modules() -> Iterator[tuple[str, Path]]:
    """Yield dotted names below criwist, and files."""
    for path in sorted(ROOT.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def place(dotted: str, table: dict[str, int]) -> str:
    """Return the entry of *table* that a dotted name belongs to; ``""`` if there is none."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:end])) in table:
            return prefix
    return ""


def imported(path: Path) -> Iterator[str]:
    """Yield dotted names below criwist that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "criwist":
                yield from (
                    alias.name if (ROOT / alias.name).exists() or (ROOT / f"{alias.name}.py").exists() else "__init__"
                    for alias in node.names
                )
            elif node.module.startswith("criwist."):
                package = node.module.removeprefix("criwist.")
                directory = ROOT / package.replace(".", "/")
                for alias in node.names:
                    is_module = (directory / alias.name).is_dir() or (directory / f"{alias.name}.py").exists()
                    yield f"{package}.{alias.name}" if is_module else package
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("criwist."):
                    yield alias.name.removeprefix("criwist.")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(name: str, path: Path) -> None:
    """No module imports from a layer above its own, no adapter another adapter, and the core no adapter."""
    here = place(name, LAYERS)
    assert here, f"{name} has no layer: add it to docs/architecture.md and to LAYERS"
    for target in imported(path):
        there = place(target, LAYERS)
        assert LAYERS[there] <= LAYERS[here], f"{name} (layer {LAYERS[here]}) imports {target} (layer {LAYERS[there]})"
        if LAYERS[here] == LAYERS[there] == ADAPTERS:
            assert here == there, f"adapter {name} imports adapter {target}"
        if LAYERS[here] == CORE:
            assert LAYERS[there] != ADAPTERS, f"{name} imports adapter {target}: it takes a seam of criwist.interfaces"


@pytest.mark.parametrize(
    ("name", "path"),
    [(name.removeprefix("core."), path) for name, path in modules() if name.startswith("core.")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rooms_of_the_core(name: str, path: Path) -> None:
    """In ``core`` a room imports from lower floors and from itself: no feature imports another feature."""
    here = place(name, CORE_FLOORS)
    assert here, f"core.{name} has no floor: add it to docs/architecture.md and to CORE_FLOORS"
    for target in imported(path):
        if not target.startswith("core."):
            continue
        there = place(target.removeprefix("core."), CORE_FLOORS)
        assert here == there or CORE_FLOORS[there] < CORE_FLOORS[here], f"core.{name} imports {target}"


def test_only_what_exists_is_listed() -> None:
    """Every name in the tables is a package or a module."""
    names = {name for name, _ in modules()}
    packages = {name.rpartition(".")[0] for name in names}
    for listed in [*LAYERS, *(f"core.{room}" for room in CORE_FLOORS)]:
        assert listed in names | packages | {name.rpartition(".")[0] for name in packages}, listed


def test_no_module_takes_the_global_reactor_at_import() -> None:
    """The reactor is a parameter: twistd chooses it after modules are imported."""
    for name, path in modules():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                assert "reactor" not in {alias.name for alias in node.names}, name


def test_the_plugin_names_the_service() -> None:
    """twistd's plugin names criwist.service."""
    plugin = ROOT.parent / "twisted" / "plugins" / "criwist_plugin.py"
    assert "criwist.service" in plugin.read_text("utf-8")
