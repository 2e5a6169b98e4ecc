"""What holds for every test: offline, one thread per process, and a reason printed for what is skipped."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

# Before torch or a hub client is imported: no network, and tiny models are fastest on one thread.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Each process its own: a server that ends deletes its uploads, and the same picture has the same path.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="smola-tests-")

import hypothesis
import pytest

atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

# The same examples in every run, and no time limit per example on a busy machine.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, database=None, max_examples=60)
hypothesis.settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, and what this machine cannot run skipped."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """A browser test that failed says what its page showed."""
    report = yield
    if report.when == "call" and report.failed:
        for name, visit in getattr(item, "funcargs", {}).items():
            if callable(getattr(visit, "told", None)):
                with contextlib.suppress(Exception):  # the page may be gone
                    report.sections.append((f"the page of {name}", visit.told()))
    return report


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, and the tiny backbone wherever a run asks for one; those made, in order."""
    import torch
    from tiny import tiny_backbone

    from smola_demo import study, train
    from smola_demo.backbone import connector

    made = []

    def load(_id, _precision, device="cpu", base=None):
        backbone = tiny_backbone()
        backbone.model.to(device)
        backbone.device = torch.device(device)
        if base:
            backbone.state = connector.overlay(backbone.model, Path(base))
            backbone.revision = connector.revision_of(Path(base))
        made.append(backbone)
        return backbone

    monkeypatch.chdir(tmp_path)
    for asking in (train, study):
        monkeypatch.setattr(asking, "load_backbone", load)
    return made
