"""Imports point down and heavy libraries stay where they belong: read from the source, then tried."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
# A module may import modules of its own level and below. A package stands for all that is in it.
LEVELS = {
    "smola_demo": 0,
    "config": 0,
    "context": 1,
    "processes": 1,
    "tensor_files": 1,
    "smola": 1,
    "adapter": 2,
    "adapter_files": 2,
    "trace": 2,
    "divergence": 2,
    "ablation": 2,
    "ablation_spec": 2,
    "results": 2,
    "backbone": 2,
    "tasks": 2,
    "metrics": 2,
    "caption_metrics": 2,
    "data": 2,
    "experts": 3,
    "memory": 3,
    "generation": 3,
    "scoring": 3,
    "effects": 3,
    "sweep": 3,
    "chance": 3,
    "engine": 3,
    "catalogue": 3,
    "runs": 3,
    "reports": 3,
    "packing": 3,
    "losses": 3,
    "cells": 3,
    "cell_figures": 3,
    "lora": 2,
    "trainable": 3,
    "study": 3,
    "train": 3,
    "train_output": 3,
    "model_card": 3,
    "train_state": 3,
    "averaging": 3,
    "batches": 3,
    "sharing": 3,
    "soup": 3,
    "baselines": 3,
    "metric_files": 3,
    "tables": 3,
    "documents": 3,
    "evaluate": 3,
    "looking": 3,
    "health": 3,
    "checks": 3,
    "atlas": 3,
    "bench": 3,
    "bench_peers": 3,
    "fit_report": 3,
    "plots": 3,
    "ui": 4,
    "commands": 4,
    "offline_commands": 4,
    "report_text": 4,
    "__main__": 4,
    "app": 5,
}
# Where a library may be imported at all; anywhere else a lazy import would be wrong too.
HOMES = {
    "gradio": ("ui", "app"),
    "plotly": ("plots", "ui"),
    "bitsandbytes": ("backbone",),
    "transformers": ("backbone",),
    "gguf": ("backbone",),
    "pickle": (),
}
NO_TORCH = (
    "smola_demo",
    "config",
    "ablation_spec",
    "results",
    "tasks",
    "metrics",
    "caption_metrics",
    "data",
    "plots",
    "ui",
)


class Import(NamedTuple):
    """One import: the whole dotted name, and whether it runs when its module is imported, later, or never."""

    name: str
    when: str  # "at once", "lazily" or "for types"


def sources() -> list[Path]:
    return sorted([*(ROOT / "smola_demo").rglob("*.py"), *ROOT.glob("app.py")])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(name: str) -> str:
    """smola_demo.backbone.base → backbone, smola_demo → smola_demo, app → app."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    found: list[Import] = []

    def visit(node: ast.AST, when: str) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            # `from smola_demo import tasks` imports smola_demo.tasks; a class's name is cut off later.
            found.extend(Import(f"{node.module}.{alias.name}", when) for alias in node.names)
        inner = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "at once":
            inner = "lazily"
        for field, value in ast.iter_fields(node):
            guarded = isinstance(node, ast.If) and field == "body" and "TYPE_CHECKING" in ast.dump(node.test)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, "for types" if guarded else inner)

    visit(ast.parse(path.read_text(encoding="utf-8")), "at once")
    return tuple(found)


def test_imports_are_told_apart(tmp_path: Path):
    text = """
from typing import TYPE_CHECKING
import torch.nn as nn
if TYPE_CHECKING:
    from smola_demo.adapter import Adapter
class A:
    import json
    def f(self):
        from smola_demo import engine
"""
    (tmp_path / "x.py").write_text(text, encoding="utf-8")
    assert imports_of(tmp_path / "x.py") == (
        Import("typing.TYPE_CHECKING", "at once"),
        Import("torch.nn", "at once"),
        Import("smola_demo.adapter.Adapter", "for types"),
        Import("json", "at once"),
        Import("smola_demo.engine", "lazily"),
    )


def modules() -> set[str]:
    return {module_of(path) for path in sources()}


def ours(path: Path) -> list[Import]:
    """The imports of our own modules, each by the module's name."""
    known, result = modules(), []
    for name, when in imports_of(path):
        if name.split(".")[0] == "smola_demo":
            module = name if name in known else name.rpartition(".")[0]
            result.append(Import(module, when))
    return result


def test_every_module_has_a_level():
    homeless = {part_of(module) for module in modules()} - set(LEVELS)
    assert not homeless, f"give these a level in tests/test_layers.py: {sorted(homeless)}"
    assert {"config", "smola", "adapter", "backbone", "engine", "ui"} <= {part_of(m) for m in modules()}


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_imports_point_down(path: Path):
    level = LEVELS[part_of(module_of(path))]
    for name, _ in ours(path):
        assert LEVELS[part_of(name)] <= level, f"{module_of(path)} imports {name}, which is above it"


def test_no_module_waits_for_itself():
    """Imports at the top of modules form no circle."""
    graph = {
        module_of(path): {name for name, when in ours(path) if when == "at once" and name != module_of(path)}
        for path in sources()
    }
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"circle: {' → '.join((*way, module))}"
        if module not in done:
            for name in graph.get(module, ()):
                walk(name, (*way, module))
            done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_libraries_stay_at_home(path: Path):
    part = part_of(module_of(path))
    for name, when in imports_of(path):
        library = name.split(".")[0]
        if library in HOMES and when != "for types":
            assert part in HOMES[library], f"{module_of(path)} imports {library}"
        if library == "torch" and when != "for types":
            assert part not in NO_TORCH, f"{module_of(path)} imports torch"


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_no_code_of_others_is_run_from_a_checkpoint(path: Path):
    """No remote code, and torch.load only of plain tensors."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            given = {keyword.arg: ast.dump(keyword.value) for keyword in node.keywords}
            assert "trust_remote_code" not in given
            if ast.unparse(node.func) == "torch.load":
                assert given.get("weights_only") == "Constant(value=True)"
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and ast.unparse(key) == "'trust_remote_code'":
                    assert ast.unparse(value) == "False"


def loaded_after(*names: str) -> dict[str, set[str]]:
    """Import the modules one after the other in a fresh process; the libraries present after each."""
    watched = ("torch", "gradio", "transformers", "bitsandbytes", "plotly")
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    print(name, *(lib for lib in {watched!r} if lib in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: set(line.split()[1:]) for line in done.stdout.splitlines()}


def package(*parts: str) -> list[str]:
    """All modules of some parts that can be imported by name."""
    return [m for m in sorted(modules()) if part_of(m) in parts and not m.endswith("__main__")]


def test_light_modules_load_nothing_heavy():
    light = package(
        "smola_demo", "config", "ablation_spec", "results", "tasks", "metrics", "caption_metrics", "data"
    )
    after = loaded_after(*light)
    assert set(after) == set(light)
    assert all(not libraries for libraries in after.values()), after


def test_plots_and_page_load_no_torch():
    after = loaded_after(*package("plots"), *package("ui"))
    assert not any({"torch", "transformers", "bitsandbytes"} & libraries for libraries in after.values()), (
        after
    )
    assert not any("gradio" in libraries for name, libraries in after.items() if "plots" in name), after


def test_the_heart_loads_torch_and_no_model_library():
    after = loaded_after(*package("smola", "adapter", "trace", "ablation"))
    assert all(libraries == {"torch"} for libraries in after.values()), after


def test_the_engine_loads_no_page_and_no_quantizer_before_a_model():
    after = loaded_after("smola_demo.engine", "smola_demo.evaluate", "smola_demo.bench")
    assert not any({"gradio", "bitsandbytes"} & libraries for libraries in after.values()), after


def test_importing_the_app_loads_no_model():
    assert not {"torch", "transformers", "bitsandbytes"} & loaded_after("app")["app"]
