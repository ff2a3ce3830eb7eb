"""A module imports from lower layers and from its own package; adapters do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "criwist"

#: Package or module to layer, as docs/architecture.md draws them.
LAYERS = {
    **dict.fromkeys(("__init__", "errors", "labels", "names", "reference", "times", "api", "pause", "durable"), 0),
    **dict.fromkeys(("config", "interfaces"), 1),
    **dict.fromkeys(("wire", "translate", "netconf", "go_flags"), 2),
    **dict.fromkeys(
        ("docker", "network", "kernel", "logs", "checkpoint", "older_shims", "metrics", "notify", "journal"), 3
    ),
    "core": 4,
    **dict.fromkeys(("rpc", "streaming"), 5),
    **dict.fromkeys(
        ("service", "options", "option_table", "option_values", "option_addresses", "demo", "testing", "doctor"), 6
    ),
}

#: Adapters beside each other in layer 3 may share these: a small module on which several stand.
SHARED = {"older_shims": {"checkpoint"}}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted names below criwist, and files."""
    for path in sorted(ROOT.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def unit(dotted: str) -> str:
    """The package or top-level module that a dotted name below criwist belongs to."""
    return dotted.split(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names below criwist that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "criwist":
                yield from (
                    alias.name if (ROOT / alias.name).exists() or (ROOT / f"{alias.name}.py").exists() else "__init__"
                    for alias in node.names
                )
            elif node.module.startswith("criwist."):
                yield node.module.removeprefix("criwist.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("criwist."):
                    yield alias.name.removeprefix("criwist.")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(name: str, path: Path) -> None:
    """No module imports from a layer above its own, nor an adapter another adapter."""
    here = unit(name)
    assert here in LAYERS, f"{here} has no layer: say in docs/architecture.md and here where it belongs"
    for target in imported(path):
        there = unit(target)
        assert LAYERS[there] <= LAYERS[here], f"{name} (layer {LAYERS[here]}) imports {target} (layer {LAYERS[there]})"
        if LAYERS[here] == LAYERS[there] == 3 and here != there:
            assert here in SHARED.get(there, ()), f"adapter {name} imports adapter {target}"


def test_no_module_takes_the_global_reactor_at_import() -> None:
    """The reactor is a parameter: twistd chooses it after modules are imported."""
    for name, path in modules():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                assert "reactor" not in {alias.name for alias in node.names}, name


def test_only_the_composition_is_asked_for_by_twistd() -> None:
    """The plugin names criwist.service, and nothing but it."""
    plugin = ROOT.parent / "twisted" / "plugins" / "criwist_plugin.py"
    assert "criwist.service" in plugin.read_text("utf-8")
