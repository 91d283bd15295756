"""The rules of the house that a linter cannot see."""

from __future__ import annotations

import ast
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dicom_node", "processing", "onnx_models", "reports")
SHARED_TYPES = {"cine", "roi", "errors", "limitations", "frozen_arrays", "metrics", "kernels", "simulation"}


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.split("\n") if line and (ROOT / line).exists()]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


ALL_MODULES = [path for package in PACKAGES for path in modules(package)]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_our_package_names_belong_to_us_alone() -> None:
    """`processing` and `reports` are generic names: another distribution with one of them would shadow ours."""
    owners = packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"ceus-node"}


def test_onnxruntime_is_installed_once() -> None:
    """`onnxruntime` beside `onnxruntime-gpu` breaks both."""
    assert len(set(packages_distributions()["onnxruntime"])) == 1


@pytest.mark.parametrize("path", ALL_MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module begins with a sentence that says what it is"
    assert len(text.splitlines()) <= 400, "modules stay under 400 lines: find the two concepts in it"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "__init__.py is a docstring: no re-exports"
    if "kernels" in path.parts:
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = 0
            if ast.get_docstring(node):
                first = node.body[0]
                doc = (first.end_lineno or first.lineno) - first.lineno + 1
            signature_end = node.body[0].lineno
            length = (node.end_lineno or node.lineno) - signature_end + 1 - doc
            assert length <= 40, f"{node.name} has {length} lines: house.md rule 14 asks for at most 40"


@pytest.mark.parametrize("path", ALL_MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            caught = ast.unparse(node.type)
            if caught in ("Exception", "BaseException"):
                assert any(isinstance(n, ast.Raise) for n in ast.walk(node)), f"{caught} swallowed, line {node.lineno}"


def test_the_truth_stays_independent() -> None:
    """`processing.simulation` and the stages that measure share types, never code."""
    for path in modules("processing"):
        relative = path.relative_to(ROOT / "processing")
        names = {n.removeprefix("processing.") for n in imported(path) if n.startswith("processing.")}
        if relative.parts[0] == "simulation":
            used = {n.split(".")[0] for n in names}
            assert used <= SHARED_TYPES, f"{relative} uses a stage that measures: {used - SHARED_TYPES}"
            assert not any(n.startswith("kernels.") and n != "kernels.jit" for n in names), relative
        else:
            assert not any(n.split(".")[0] == "simulation" for n in names), f"{relative} uses the simulated truth"


@pytest.mark.parametrize("word", ["utils", "common", "manager", "helpers"])
def test_no_room_without_a_subject(word: str) -> None:
    assert not [path for path in ALL_MODULES if path.stem == word or word in path.parent.parts]


def test_one_tests_package() -> None:
    """A tests/processing/__init__.py would shadow the package `processing`."""
    assert [p.relative_to(ROOT) for p in (ROOT / "tests").rglob("__init__.py")] == [Path("tests/__init__.py")]


def test_no_index_address_is_committed() -> None:
    """The lock carries hashes and names, never the address of a registry."""
    for path in tracked("*.lock") + tracked("*.toml"):
        for line in path.read_text().splitlines():
            assert "index-url" not in line
            assert not ("://" in line and ("simple" in line or ".whl" in line)), f"{path.name}: {line[:60]}"
