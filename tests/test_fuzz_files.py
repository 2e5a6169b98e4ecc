"""Damaged files of every kind that we read: each gives what it holds, or one sentence of its own kind."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_engine import FakeEngine
from fuzzing import CASES, changed, mutations, one_sentence
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import tiny_backbone
from tiny_experts import CONFIG, with_experts

from smola_demo.adapter import AdapterError
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, load_weights, read_config, save
from smola_demo.data.row import RowError, read_rows
from smola_demo.experts import ExpertsError, attach_experts
from smola_demo.results import Answer, Request
from smola_demo.runs import RunError, read_run, read_run_file, run_record
from smola_demo.trace import RoutingTrace, TraceError
from smola_demo.ui import recorded

FEW = max(20, CASES // 10)  # of cases that cost more


def refused(run, *kinds) -> bool:
    """Whether one of our errors came, in one sentence; any other error fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            run()
        except kinds as error:
            said = str(error)
        else:
            return False
    assert one_sentence(said), said
    return True


# Adapters


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """(a saved adapter's config, its bytes of weights, the adapter itself)"""
    backbone, adapter = with_experts()
    facts = {"base_model_name_or_path": backbone.id, "revision": backbone.revision, "steps": 3}
    folder = save(adapter, tmp_path_factory.mktemp("adapter"), facts)
    config = json.loads((folder / CONFIG_NAME).read_text())
    return config, (folder / WEIGHTS_NAME).read_bytes(), adapter


@pytest.fixture
def folder(adapter, tmp_path):
    config, weights, _ = adapter
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    (tmp_path / WEIGHTS_NAME).write_bytes(weights)
    return tmp_path


def test_damaged_weights_are_refused_or_finite(adapter, folder):
    _, weights, fresh = adapter
    length = struct.unpack("<Q", weights[:8])[0]
    headers = mutations([weights[: 8 + length]], CASES)
    wholes = mutations([weights], CASES, seed=1)
    for data in [*(head + weights[8 + length :] for head in headers), *wholes]:
        (folder / WEIGHTS_NAME).write_bytes(data)
        refused(lambda: load_weights(fresh, folder), AdapterError)
        assert all(bool(torch.isfinite(p).all()) for p in fresh.parameters())


def header(**changes) -> bytes:
    """A file of weights whose header says what its bytes do not hold."""
    text = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        header(shape=[2**62, 2]),
        header(data_offsets=[0, 2**63]),
        header(shape=[-1]),
        header(dtype="P64"),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_huge_declared_sizes_are_refused(adapter, folder, data):
    (folder / WEIGHTS_NAME).write_bytes(data)
    assert refused(lambda: load_weights(adapter[2], folder), AdapterError)


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn, torch.float8_e8m0fnu, torch.complex64],
)
def test_tensors_of_a_kind_that_weights_have_not_are_refused(adapter, folder, dtype):
    tensors = {name: torch.zeros(t.shape).to(dtype) for name, t in load_file(folder / WEIGHTS_NAME).items()}
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(AdapterError, match="numbers of the kind"):
        load_weights(adapter[2], folder)


def test_numbers_that_only_overflow_once_they_are_read_are_refused(adapter, folder):
    tensors = {name: t.double() for name, t in load_file(folder / WEIGHTS_NAME).items()}
    next(iter(tensors.values())).view(-1)[0] = 1e300
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(AdapterError, match="NaN or infinity"):
        load_weights(adapter[2], folder)


def test_damaged_configs_are_refused(adapter, folder):
    config, _, _ = adapter
    rng = random.Random(0)
    path = folder / CONFIG_NAME
    for _ in range(CASES):
        path.write_bytes(json.dumps(changed(config, rng, copy.deepcopy)).encode("utf-8", "surrogatepass"))
        refused(lambda: read_config(folder), AdapterError)
    for data in (*mutations([json.dumps(config).encode()], CASES), b"[" * 100_000, b"9" * 5000, b""):
        path.write_bytes(data)
        refused(lambda: read_config(folder), AdapterError)


def test_experts_with_a_damaged_config_do_not_attach(adapter, folder):
    """Also what only shows on a model: sizes beyond the file, facts that the page shows."""
    config, _, _ = adapter
    backbone = tiny_backbone()
    odd = [{"num_experts": 10**9}, {"rank": 10**9}, {"num_experts": 10**5, "rank": 10**5}, {"num_slots": 2}]
    odd += [{"steps": "many"}, {"steps": [1]}, {"base_model_name_or_path": ["tiny"]}]
    odd += [{"layers": [10**9]}, {"router_scale": 1e308}, {"revision": None}]
    for fact in odd:
        (folder / CONFIG_NAME).write_text(json.dumps(config | fact))
        assert refused(lambda: attach_experts(backbone, folder), AdapterError, ExpertsError), fact
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    assert attach_experts(backbone, folder)[0].config == CONFIG


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_folder_in_place_of_a_file_is_refused(adapter, folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    read = (
        (lambda: read_config(folder)) if name == CONFIG_NAME else (lambda: load_weights(adapter[2], folder))
    )
    assert refused(read, AdapterError)


# Suites of rows

ROW = {"image": "a.png", "task": "vqa", "question": "What is it?", "answers": ["a cat", "cat"], "source": "x"}


def test_damaged_rows_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    rng = random.Random(0)
    for _ in range(CASES):
        lines = [json.dumps(changed(ROW, rng, copy.deepcopy)), json.dumps(ROW)]
        path.write_bytes("\n".join(lines).encode())
        if not refused(lambda: read_rows(path), RowError):
            assert all(isinstance(row.question, str | None) for row in read_rows(path))
    for data in (*mutations([json.dumps(ROW).encode() * 2], CASES), b"[" * 100_000, b"9" * 5000, b"\0"):
        path.write_bytes(data)
        refused(lambda: read_rows(path), RowError)
    assert refused(lambda: read_rows("\0"), RowError)
    assert refused(lambda: read_rows("x" * 500), RowError)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_answer_stays_on_its_line(tmp_path_factory, text):
    """Only line feeds end a row: other separators of Unicode may stand in a text as they are."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    row = json.dumps(ROW | {"answers": [f"a{text}"]}, ensure_ascii=False)
    path.write_bytes(f"{row}\n{row}\n".encode())
    assert [one.answers for one in read_rows(path)] == [(f"a{text}",)] * 2


# Recorded runs


@pytest.fixture(scope="module")
def run():
    fake = FakeEngine(layers=2, experts=3)
    image = Image.new("RGB", (20, 10), "teal")
    *_, answer = fake.answer(Request(image, "vqa", "What?"))
    assert isinstance(answer, Answer)
    return json.loads(json.dumps(run_record(answer, fake.info(), image, "2026-01-02T03:04:05")))


def reopened(text) -> None:
    """As the page does it: read, then drawn."""
    recorded.views(read_run(text), "reopened")


def test_damaged_runs_are_refused(run):
    rng = random.Random(0)
    reopened(json.dumps(run))
    for _ in range(CASES):
        text = json.dumps(changed(run, rng, copy.deepcopy)).encode("utf-8", "surrogatepass")
        refused(lambda text=text: reopened(text), RunError)
    for data in mutations([json.dumps(run).encode()], FEW):
        refused(lambda data=data: reopened(data), RunError)


EMPTY = {"dtype": "float16", "data": "eJwDAAAAAAE="}


@pytest.mark.parametrize(
    "axes",
    [
        {"experts": 10**12},
        {"experts": 10**12, "tokens": [], "modality": [], "phase": []},
        {"experts": float("inf")},
        {"experts": -1},
        {"groups": ["visual"] * 10**6},
        {"groups": ["visual", "visual", "text"]},
        {"modality": [7] * 30},
        {"modality": ["visual"] * 30},
        {"phase": [None] * 30},
        {"layers": [[]] * 2},
        {"weight": EMPTY | {"shape": [2**32, 2**32]}},
        {"weight": EMPTY | {"shape": [10**30, 0]}},
        {"weight": EMPTY | {"shape": []}},
    ],
)
def test_axes_that_no_run_has_are_refused(run, axes):
    """Arrays without a number fit any axes; they must not make anything large."""
    odd = copy.deepcopy(run)
    odd["routing"] |= axes
    if axes.get("tokens") == []:
        g, n, p, e = 3, 2, len(odd["routing"]["projections"]), axes["experts"]
        shapes = {name: [g, n, p, 0, e] for name in ("weight", "contribution", "alignment")}
        shapes |= {"base_norm": [n, p, 0], "boxes": [0, 4]}
        odd["routing"] |= {name: EMPTY | {"shape": shape} for name, shape in shapes.items()}
    assert refused(lambda: reopened(json.dumps(odd)), RunError)


@pytest.mark.parametrize("path", ["\0", "x" * 5000, "", "."])
def test_what_is_no_path_of_a_run_is_refused(path):
    assert refused(lambda: read_run_file(Path(path)), RunError)


# Traces


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "t.npz"
    FakeEngine(layers=2, experts=3).trace(0, [" a", " dog"], grid=2, words=3).save(path)
    return path.read_bytes()


def test_damaged_traces_are_refused(trace, tmp_path):
    path = tmp_path / "t.npz"
    for data in mutations([trace], CASES):
        path.write_bytes(data)
        refused(lambda: RoutingTrace.load(path), TraceError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", np.zeros(3, complex)),
        ("tokens", np.array([1, 2], object)),
        ("groups", np.array([{"a": 1}], object)),
        ("layers", np.array([np.nan])),
        ("layers", np.array(["0"])),
        ("modality", np.array(["visual"])),
        ("modality", np.array([300.0])),
        ("tokens", np.array(3)),
        ("weight", np.array([b"x"], "V1")),
        ("base_norm", np.array([np.datetime64("2020")])),
    ],
)
def test_arrays_of_a_kind_that_traces_have_not_are_refused(trace, tmp_path, name, value):
    path = tmp_path / "t.npz"
    with np.load(io.BytesIO(trace)) as file:
        arrays = dict(file) | {name: value}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    assert refused(lambda: RoutingTrace.load(path), TraceError)


def test_a_trace_that_would_unpack_to_more_than_memory_is_refused(trace, tmp_path, monkeypatch):
    """Refused by the sizes in its list, before anything is unpacked."""
    path = tmp_path / "t.npz"
    path.write_bytes(trace)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.npy", bytes(3_000_000))
    assert path.stat().st_size < 100_000
    assert isinstance(RoutingTrace.load(path), RoutingTrace)
    monkeypatch.setattr("smola_demo.trace.MAX_BYTES", 2_000_000)
    with pytest.raises(TraceError, match="larger than 2 MB"):
        RoutingTrace.load(path)
