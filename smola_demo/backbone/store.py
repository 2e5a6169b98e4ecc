"""Keeps the assembled model in the cache, as a float32 and as a 4-bit checkpoint, and reads them back.

A checkpoint folder appears whole, by one rename, with a list of its files' sizes and hashes. A start compares
sizes only; a folder that then does not load is hashed, and built again if it is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import logging
import shutil
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError

from smola_demo.backbone.assembly import assemble  # and with it, the tower's registration
from smola_demo.backbone.download import (
    LANGUAGE,
    PARTS,
    VISION,
    CacheError,
    cache_dir,
    cache_lock,
    file_sha256,
    on_stderr,
    part_file,
    read_json,
    workroom,
    write_json,
)
from smola_demo.backbone.quantization import config_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from smola_demo.backbone.download import Progress
    from smola_demo.backbone.quantization import Plan

Kind = Literal["float", "nf4"]

LAYOUT = "3"  # raise it when what is written here or in assembly changes
READY = "ready.json"
NEEDED_BYTES = {"float": 700_000_000, "nf4": 250_000_000}
NOISY = ("bitsandbytes", "accelerate")


def load_model(plan: Plan, progress: Progress | None = None) -> Any:
    """The model on its way to `plan`: 4-bit and 8-bit linears in place on its device, all else float32.

    Raises CacheError when the cache can neither be read nor built.
    """
    from transformers import LlavaForConditionalGeneration

    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True}
    if plan.precision in ("nf4", "int8"):
        options["device_map"] = {"": plan.device}
    if plan.precision == "int8":
        options["quantization_config"] = config_for("int8", plan.device)

    def read(folder: Path) -> Any:
        loaded: Any = LlavaForConditionalGeneration.from_pretrained(folder, **options)
        model, told = loaded
        if wrong := [*told["missing_keys"], *told["mismatched_keys"], *told["unexpected_keys"]]:
            raise CacheError(f"the model in {folder} does not fit ('{wrong[0]}'): delete that folder")
        return model

    return _read(_kind(plan), read, progress)


def load_processor(plan: Plan, progress: Progress | None = None) -> Any:
    """The LlavaProcessor: tokenizer with the image placeholder, and the image processor."""
    from transformers import LlavaProcessor

    return _read(_kind(plan), lambda f: LlavaProcessor.from_pretrained(f, local_files_only=True), progress)


def checkpoint(kind: Kind, progress: Progress | None = None, full_check: bool = False) -> Path:
    """Folder of the "float" or "nf4" checkpoint, built if it is missing or incomplete.

    full_check hashes every file instead of comparing its size. Raises CacheError.
    """
    folder = cache_dir() / _folder_name(kind)
    if _whole(folder, full_check):
        return folder
    with cache_lock(progress):
        if not _whole(folder, full_check):  # another process may have built it while we waited
            if kind == "float":
                parts = [part_file(part, progress) for part in (LANGUAGE, VISION)]
                (progress or on_stderr())(
                    0, 0, "preparing the model for the first start, about half a minute"
                )
                _build(folder, kind, lambda room: _save_float(room, *parts))
            else:
                source = checkpoint("float", progress)
                _build(folder, kind, lambda room: _save_nf4(room, source))
    return folder


def _kind(plan: Plan) -> Kind:
    return "nf4" if plan.precision == "nf4" else "float"


def _folder_name(kind: Kind) -> str:
    parts = "".join(part.sha256 for part in PARTS) + LAYOUT
    name = f"embedded-{kind}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
    packages = ("bitsandbytes", "transformers") if kind == "nf4" else ()
    return "-".join([name, *(f"{p}-{importlib.metadata.version(p)}" for p in packages)])


def _whole(folder: Path, full_check: bool = False) -> bool:
    files = read_json(folder / READY)
    return bool(files) and all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == size
        and (not full_check or file_sha256(folder / name) == sha256)
        for name, (size, sha256) in files.items()
    )


def _build(folder: Path, kind: Kind, save: Callable[[Path], None]) -> None:
    """Let `save` fill an empty folder, then put it in place of `folder` and of what older versions left."""
    with workroom(NEEDED_BYTES[kind]) as room, quiet():
        fresh = room / "checkpoint"
        try:
            save(fresh)
        except SafetensorError as error:  # its own kind of error for a disk that fails
            raise OSError(str(error)) from error
        files = {f.name: [f.stat().st_size, file_sha256(f)] for f in sorted(fresh.iterdir())}
        write_json(fresh / READY, files)
        for old in folder.parent.glob(f"embedded-{kind}-*"):
            shutil.rmtree(old, ignore_errors=True)
        fresh.replace(folder)


def _read(kind: Kind, read: Callable[[Path], Any], progress: Progress | None) -> Any:
    folder = checkpoint(kind, progress)
    with quiet():
        try:
            return read(folder)
        except Exception:
            if _whole(folder, full_check=True):
                raise  # the files are as we wrote them: building them again would not help
        shutil.rmtree(folder, ignore_errors=True)
        return read(checkpoint(kind, progress))


def _save_float(folder: Path, language: Path, vision: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # the file's reader draws a bar that has no switch
        model, processor = assemble(language, vision)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _save_nf4(folder: Path, source: Path) -> None:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    cpu = torch.device("cpu")
    model = LlavaForConditionalGeneration.from_pretrained(
        source,
        dtype=torch.float32,
        local_files_only=True,
        device_map={"": cpu},
        quantization_config=config_for("nf4", cpu),
    )
    model.save_pretrained(folder)
    LlavaProcessor.from_pretrained(source, local_files_only=True).save_pretrained(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' bars and notes off the screen for a while."""
    from transformers.utils import logging as notes

    level, bars = notes.get_verbosity(), notes.is_progress_bar_enabled()
    levels = {name: logging.getLogger(name).level for name in NOISY}
    notes.set_verbosity_error()
    notes.disable_progress_bar()
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        notes.set_verbosity(level)
        if bars:
            notes.enable_progress_bar()
        for name, old in levels.items():
            logging.getLogger(name).setLevel(old)
