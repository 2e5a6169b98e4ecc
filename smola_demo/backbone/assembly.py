"""Builds the embedded model from its parts and keeps it in the cache as clean checkpoints.

A checkpoint folder appears whole, by one rename, with a list of its files' sizes; a folder that does not match its list
or does not load is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.backbone import connector
from smola_demo.backbone.download import (
    LANGUAGE,
    PARTS,
    VISION,
    CacheError,
    Progress,
    cache_dir,
    cache_lock,
    on_stderr,
    part_file,
    read_json,
    write_json,
)
from smola_demo.backbone.efficientnet import (
    CELL,
    PIXEL_MEAN,
    PIXEL_STD,
    EfficientNetLiteConfig,
    from_published,
)
from smola_demo.backbone.quantization import Plan, config_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE_TOKEN = "<image>"
LAYOUT = "2"  # raise it when what `assemble` writes changes
READY = "ready.json"


def load_model(plan: Plan, progress: Progress | None = None) -> Any:
    """The model on its way to `plan`: 4-bit and 8-bit linears in place on the device, everything else float32.

    Raises CacheError when the cache can neither be read nor built.
    """
    from transformers import LlavaForConditionalGeneration

    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True}
    if plan.precision in ("nf4", "int8"):
        options["device_map"] = {"": plan.device}
    if plan.precision == "int8":
        options["quantization_config"] = config_for("int8", plan.device)

    def read(folder: Path) -> Any:
        model, told = LlavaForConditionalGeneration.from_pretrained(folder, **options)
        wrong = [*told["missing_keys"], *told["mismatched_keys"], *told["unexpected_keys"]]
        if wrong:
            raise ValueError(f"weights do not fit: {wrong[0]}")
        return model

    return _read_or_rebuild(_kind(plan), read, progress)


def load_processor(plan: Plan, progress: Progress | None = None) -> Any:
    """The LlavaProcessor: tokenizer with the image placeholder, and the image processor."""
    from transformers import LlavaProcessor

    return _read_or_rebuild(
        _kind(plan), lambda f: LlavaProcessor.from_pretrained(f, local_files_only=True), progress
    )


def checkpoint(kind: str, progress: Progress | None = None) -> Path:
    """Folder of the "float" or "nf4" checkpoint, built if it is missing or incomplete. Raises CacheError."""
    folder = cache_dir() / _folder_name(kind)
    if not _complete(folder):
        with cache_lock():
            if not _complete(folder):
                _build(folder, _save_float if kind == "float" else _save_nf4, progress)
    return folder


def _kind(plan: Plan) -> str:
    return "nf4" if plan.precision == "nf4" else "float"


def _folder_name(kind: str) -> str:
    parts = "".join(part.sha256 for part in PARTS) + LAYOUT
    name = f"embedded-{kind}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
    if kind == "nf4":
        name += "-" + "-".join(
            f"{p}-{importlib.metadata.version(p)}" for p in ("bitsandbytes", "transformers")
        )
    return name


def _complete(folder: Path) -> bool:
    sizes = read_json(folder / READY)
    return bool(sizes) and all(
        (folder / n).is_file() and (folder / n).stat().st_size == s for n, s in sizes.items()
    )


def _build(folder: Path, save: Callable[[Path, Progress | None], None], progress: Progress | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary:
        room = Path(temporary) / "checkpoint"
        with quiet():
            save(room, progress)
        write_json(room / READY, {f.name: f.stat().st_size for f in sorted(room.iterdir())})
        shutil.rmtree(folder, ignore_errors=True)
        room.replace(folder)


def _read_or_rebuild(kind: str, read: Callable[[Path], Any], progress: Progress | None) -> Any:
    from safetensors import SafetensorError

    damaged = (OSError, ValueError, KeyError, SafetensorError, RuntimeError)
    folder = checkpoint(kind, progress)
    with quiet():
        with contextlib.suppress(*damaged):
            return read(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder = checkpoint(kind, progress)
        try:
            return read(folder)
        except damaged as error:
            raise CacheError(
                f"the model in {folder} cannot be read ({error}): delete that folder and try again"
            ) from error


def _save_float(folder: Path, progress: Progress | None) -> None:
    language, vision = part_file(LANGUAGE, progress), part_file(VISION, progress)
    (progress or on_stderr())(0, 0, "preparing the model for the first start, about half a minute")
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # the reader of the file draws a bar that cannot be switched off
        model, processor = assemble(language, vision)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _save_nf4(folder: Path, progress: Progress | None) -> None:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    source, cpu = checkpoint("float", progress), torch.device("cpu")
    model = LlavaForConditionalGeneration.from_pretrained(
        source,
        dtype=torch.float32,
        local_files_only=True,
        device_map={"": cpu},
        quantization_config=config_for("nf4", cpu),
    )
    model.save_pretrained(folder)
    LlavaProcessor.from_pretrained(source, local_files_only=True).save_pretrained(folder)


def assemble(language: Path, vision: Path) -> tuple[Any, Any]:
    """Join a GGUF language model and the published tower into (LlavaForConditionalGeneration, LlavaProcessor), float32.

    The connector is untrained; ours is laid over it when the model is loaded.
    """
    from tokenizers import pre_tokenizers
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    text = AutoModelForCausalLM.from_pretrained(language.parent, gguf_file=language.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(language.parent, gguf_file=language.name)
    # The file's reader forgets that this tokenizer was trained with every digit apart.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        words = text.get_input_embeddings().weight
        words[image_token_id] = words[:image_token_id].mean(0)

    text_config = text.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):  # of the file, not of the float weights
        text_config.pop(name, None)
    vision_config = EfficientNetLiteConfig()
    config = LlavaConfig(
        vision_config=vision_config,
        text_config=type(text.config)(**text_config),
        image_token_index=image_token_id,
        image_seq_length=(vision_config.image_size // CELL) ** 2,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlavaForConditionalGeneration(config).float()
    model.model.vision_tower.load_state_dict(from_published(torch.load(vision, weights_only=True)))
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    connector.start(model)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config = GenerationConfig(
        eos_token_id=end, pad_token_id=end, bos_token_id=1, do_sample=False
    )
    return model.eval(), make_processor(tokenizer, vision_config.image_size)


def make_processor(tokenizer: Any, image_size: int) -> Any:
    """A LlavaProcessor that squeezes an image to a square without cropping and scales it as the tower wants."""
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    square = {"height": image_size, "width": image_size}
    images = LlavaImageProcessorPil(
        size=square,
        crop_size=square,
        do_center_crop=False,
        image_mean=[PIXEL_MEAN / 255] * 3,
        image_std=[PIXEL_STD / 255] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE_TOKEN,
        chat_template=tokenizer.chat_template,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' bars and notes off the screen while we load; warnings of our own stay."""
    import logging as standard_logging

    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    noisy = [standard_logging.getLogger(name) for name in ("bitsandbytes", "accelerate")]
    levels = [logger.level for logger in noisy]
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for logger in noisy:
        logger.setLevel(standard_logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        for logger, old in zip(noisy, levels, strict=True):
            logger.setLevel(old)
