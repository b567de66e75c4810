"""The rooms and the arrows between them, read from the code itself."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ell_tune", "trainables", "analysis")
MAX_LINES = 350
ROOMS = ("files", "essays", "spaces", "trials", "choosing", "models", "studies", "running", "runs", "cli")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imports(module: str) -> set[str]:
    """Every module that `module` imports anywhere: at its top, in a function, or for types only."""
    path = FILES[module]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from package import name` imports a module where `name` is one.
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= (names & FILES.keys()) or {base}
    return found


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def importers(package: str, *forbidden: str) -> dict[str, list[str]]:
    """The modules of a package that import something forbidden, and what."""
    found = {
        module: sorted(name for name in imports(module) if any(within(name, other) for other in forbidden))
        for module in FILES
        if within(module, package)
    }
    return {module: names for module, names in found.items() if names}


def test_every_package_is_looked_at() -> None:
    assert {module.partition(".")[0] for module in FILES} == set(PACKAGES)
    assert "ell_tune.errors" in imports("ell_tune.trainable")


def test_the_platform_knows_no_torch_and_no_trainable() -> None:
    assert importers("ell_tune", "torch", "transformers", "trainables") == {}


def test_only_the_command_line_reaches_the_analysis() -> None:
    assert set(importers("ell_tune", "analysis")) <= {"ell_tune.cli.study_verbs"}


def test_a_room_of_the_platform_imports_only_those_below_it() -> None:
    order = {room: height for height, room in enumerate(ROOMS)}
    for module in FILES:
        _, _, inner = module.partition("ell_tune.")
        height = order.get(inner.partition(".")[0], -1)  # the contracts lie below all rooms
        rooms = {name.split(".")[1] for name in imports(module) if name.startswith("ell_tune.")} & order.keys()
        if within(module, "ell_tune"):
            assert {room for room in rooms if order[room] > height} == set(), module


def test_no_room_imports_the_command_line() -> None:
    reaching = {module for module in FILES if any(within(name, "ell_tune.cli") for name in imports(module))}
    assert {module for module in reaching if not within(module, "ell_tune.cli")} == set()


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("trainables", {"config", "errors", "essays.data", "essays.metrics", "trainable"}),
        ("analysis", {"errors", "essays.metrics", "files.atomic", "trials.front", "trials.ranking", "trials.records"}),
    ],
)
def test_a_room_uses_only_the_platforms_contracts(package: str, allowed: set[str]) -> None:
    # A command of a trainable's own reads the files of the platform's verbs, as they do.
    inside = [module for module in FILES if within(module, package) and module != "trainables.regressor.table"]
    used = {name for module in inside for name in imports(module)}
    platform = {name for name in used if within(name, "ell_tune")}
    assert platform <= {f"ell_tune.{name}" for name in allowed}


def test_trainables_know_neither_ray_nor_optuna_nor_the_analysis() -> None:
    assert importers("trainables", "ray", "optuna", "analysis") == {}


def test_the_analysis_knows_neither_ray_nor_torch_nor_a_trainable() -> None:
    assert importers("analysis", "ray", "torch", "transformers", "trainables") == {}


@pytest.mark.parametrize("module", ["ell_tune.config", "ell_tune.trainable", "ell_tune.errors"])
def test_the_contracts_load_neither_ray_nor_optuna_nor_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'ray', 'optuna', 'torch'}} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {module: imports(module) & FILES.keys() - {module} for module in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert set(order) == FILES.keys()


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [module for module, path in FILES.items() if path.stem in drawers] == []


def test_no_file_is_too_long_to_read() -> None:
    paths = [*FILES.values(), *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_every_public_module_says_what_it_is_for() -> None:
    silent = [module for module, path in FILES.items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
