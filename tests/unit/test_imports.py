"""Imports go one way: storage <- labeling, reranker <- the tabs, the page and the server <- app.py."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_THE_APP = ("tests", "benchmarks", "distillation", "data", "build")
# What every room may use: it knows none of them.
BASIC = ("errors", "texts", "files", "hub_names")
# What the child process that trains is made of: it gets files and never opens the database.
FILES_ONLY = ("reranker.train", "reranker.dataset", "reranker.evaluation", "reranker.recipe")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_modules() -> dict[str, Path]:
    """Every module of the app, by name."""
    paths = [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not any(part.startswith(".") or part in NOT_THE_APP for part in path.relative_to(ROOT).parts)
    ]
    return {module_name(path): path for path in paths}


MODULES = find_modules()


def imported_by(path: Path, name: str) -> Iterator[str]:
    """The names that a file imports anywhere, at its top or inside a function; `from a import b` gives a and a.b."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


IMPORTS = {name: set(imported_by(path, name)) for name, path in MODULES.items()}


def within_project(name: str) -> set[str]:
    """The modules of the app that this one imports, with the packages that they lie in."""
    found: set[str] = set()
    for imported in IMPORTS[name]:
        parts = imported.split(".")
        found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)} & MODULES.keys()
    return found - {name}


def reached_from(name: str) -> set[str]:
    """This module and all that it imports within the app, step by step."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += within_project(module)
    return seen


def top(name: str) -> str:
    return name.partition(".")[0]


def is_tab(name: str) -> bool:
    return name.endswith("_tab")


def room(name: str) -> list[str]:
    """The modules in this directory."""
    return [module for module in MODULES if top(module) == name]


def imports_library(name: str, library: str) -> bool:
    return any(top(imported) == library for imported in IMPORTS[name])


def test_the_walk_sees_the_app() -> None:
    for name in ("app", "settings", "storage.label_store", "labeling.service", "reranker.jobs", "server.api"):
        assert name in MODULES
    assert "storage.label_store" in within_project("labeling.service")
    assert "server.error_answers" in reached_from("app")
    assert imports_library("app", "gradio") and imports_library("reranker.loading", "torch")


@pytest.mark.parametrize("name", room("storage"))
def test_storage_imports_no_other_room(name: str) -> None:
    assert {top(module) for module in reached_from(name)} <= {"storage", "errors", "files", "texts"}


@pytest.mark.parametrize("library", ["torch", "gradio"])
def test_storage_imports_neither_torch_nor_gradio(library: str) -> None:
    reached = set.union(*(reached_from(name) for name in room("storage")))
    assert [name for name in reached if imports_library(name, library)] == []


@pytest.mark.parametrize("one", ["labeling", "reranker"])
def test_labeling_and_reranker_never_import_each_other(one: str) -> None:
    other = {"labeling": "reranker", "reranker": "labeling"}[one]
    crossing = [(name, module) for name in room(one) for module in within_project(name) if top(module) == other]
    assert crossing == []


@pytest.mark.parametrize("name", [name for name in [*room("labeling"), *room("reranker")] if not is_tab(name)])
def test_what_works_behind_the_page_does_not_know_the_page_or_the_server(name: str) -> None:
    assert {top(module) for module in reached_from(name)} <= {top(name), "storage", *BASIC}


def test_nothing_but_the_page_imports_a_tab() -> None:
    importing = [name for name in MODULES for module in within_project(name) if is_tab(module)]
    assert {top(name) for name in importing} <= {"page", "app"}


@pytest.mark.parametrize("name", [*room("server"), "services", "settings", "errors", "files", "texts"])
def test_the_server_knows_neither_the_page_nor_the_tabs(name: str) -> None:
    assert not {module for module in reached_from(name) if top(module) in ("page", "app") or is_tab(module)}


def test_nothing_imports_app() -> None:
    assert [name for name in MODULES if "app" in within_project(name)] == []


def test_only_tabs_app_and_page_import_gradio() -> None:
    importing = [name for name in MODULES if imports_library(name, "gradio")]
    assert [name for name in importing if not is_tab(name) and name != "app" and top(name) != "page"] == []


@pytest.mark.parametrize("name", FILES_ONLY)
def test_the_training_process_never_reaches_the_store(name: str) -> None:
    assert [module for module in reached_from(name) if top(module) == "storage"] == []
    assert not imports_library(name, "sqlite3") and not imports_library(name, "sqlite_utils")


@pytest.mark.parametrize("modules", ["services", "server.api"])
def test_the_page_need_not_wait_for_heavy_libraries(modules: str) -> None:
    heavy = "{'torch', 'sentence_transformers', 'transformers', 'openvino', 'scipy', 'sklearn'}"
    script = f"import {modules}, sys; print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "[]"
