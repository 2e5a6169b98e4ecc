"""What every backbone can tell: its inputs, the kind of each token, the image patch behind each visual token.

Knows nothing of experts, routing or training. Axes: b batch, t token, n visual token.
"""

from __future__ import annotations

import operator
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from smola_demo.context import PAD, TEXT, VISUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image


@dataclass(frozen=True)
class Encoded:
    """One row of input: a prompt, with or without an image, with or without an answer to learn or to score.

    input_ids     (t,) int64
    pixel_values  the image as the model takes it, such as (1, 3, h, w) pixels or (1, n, d) features of the
                  tower; rows are joined along the first axis; None without an image
    answer_start  index of the first answer token; t when there is no answer
    modality      (t,) int8, TEXT or VISUAL
    boxes         (n, 4) float32, x0 y0 x1 y1 of each visual token, where only the image's size tells them
    more          further inputs of the model that go with the image, joined along the first axis too
    """

    input_ids: Tensor
    pixel_values: Tensor | None
    answer_start: int
    modality: Tensor
    boxes: Tensor | None = None
    more: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def answered(self, ids: Sequence[int]) -> Encoded:
        """The same prompt with this answer after it, to be scored."""
        answer = torch.tensor(list(ids), dtype=self.input_ids.dtype)
        modality = torch.cat([self.modality, self.modality.new_full((len(answer),), TEXT)])
        return replace(self, input_ids=torch.cat([self.input_ids, answer]), modality=modality)


@dataclass(frozen=True)
class Batch:
    """Rows side by side.

    inputs     for `model(**inputs)` and `model.generate(**inputs)`: input_ids, attention_mask and what else
               the family has per token, such as position_ids, each (b, t); pixel_values with an image
    modality   (b, t) int8: TEXT, VISUAL or PAD
    is_answer  (b, t) bool: this position holds an answer token
    """

    inputs: dict[str, Tensor]
    modality: Tensor
    is_answer: Tensor

    @property
    def labels(self) -> Tensor:
        """(b, t) int64: the answers' tokens, and -100 where nothing is learned."""
        return torch.where(self.is_answer, self.inputs["input_ids"], -100)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return replace(
            self, inputs=inputs, modality=self.modality.to(device), is_answer=self.is_answer.to(device)
        )


@dataclass
class Backbone(ABC):
    """A frozen vision-language model with its processor; one subclass per family.

    revision   fingerprint of the weights; experts are only good on the backbone they were made for
    precision  how weights are held ("nf4", …); compute is the sentence for the screen
    state      empty, or what the user should know about these weights, such as "untrained connector"
    fit        the sentence that said before loading how these weights would fit
    load_s     seconds the load took; memory_mb is the size of the weights in memory

    Of the family: bidirectional_prompt, prompt tokens see each other both ways · packs, several questions may
    share one training sequence (causal attention, plain positions) · spelled, tasks whose answers it learns
    letter by letter · decoder_path of the language model.
    """

    bidirectional_prompt: ClassVar[bool] = False
    packs: ClassVar[bool] = False
    spelled: ClassVar[frozenset[str]] = frozenset()
    decoder_path: ClassVar[str] = "model.language_model"

    id: str
    name: str
    licence: str
    revision: str
    model: Any
    processor: Any
    precision: str
    compute: str
    device: torch.device
    load_s: float = 0.0
    state: str = ""
    fit: str = ""

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def decoder(self) -> nn.Module:
        """The stack of the language model, whose forward is called once per step."""
        return operator.attrgetter(self.decoder_path)(self.model)

    @property
    def num_layers(self) -> int:
        """Layers of the language model."""
        return len(self.decoder.layers)  # type: ignore[arg-type]  # a ModuleList

    @property
    def memory_mb(self) -> float:
        """Size of all weights in memory, in MB of 10^6 bytes; shared tensors count once."""
        return weight_bytes(self.model) / 1e6

    @property
    def image_token_id(self) -> int:
        """Vocabulary id of the placeholder that stands where a visual token goes."""
        return self.model.config.image_token_id

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Vocabulary ids that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return tuple(ends) if isinstance(ends, list | tuple) else (ends,)

    def checkpoint_layers(self, around: Callable[[], Any] | None = None) -> None:
        """Keep the inputs of the language model's layers for backward, and run each layer again there.

        around  `context_fn` of torch.utils.checkpoint: contexts for the first run of a layer and the second
        """
        self.decoder.activation_checkpointing_enable(  # type: ignore[operator]  # a PreTrainedModel
            {"use_reentrant": False, **({"context_fn": around} if around else {})}
        )
        self.decoder.disable_input_require_grads()  # type: ignore[operator]  # of use to reentrant ones alone
        for layer in self.decoder.layers:  # type: ignore[union-attr]  # a ModuleList
            layer.training = True  # what switches it on; not .train(), which would switch dropout on too

    def prompt(self, task: str, question: str | None = None) -> str:
        """What the user's task and question say to the model, as text."""
        from smola_demo.tasks import TASKS

        return TASKS[task].prompt(question)

    def head(self, hidden: Tensor) -> Tensor:
        """Last hidden states (…, d) → scores of the vocabulary (…, v), capped where the model caps them."""
        logits = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @abstractmethod
    def prepare(self, image: Image.Image) -> Any:
        """A picture as `encode` takes it at no further cost, for several questions about it."""

    @abstractmethod
    def encode(self, image: Any, prompt: str, answer: str | None = None) -> Encoded:
        """One row. image: a picture, what `prepare` made of one, or None."""

    def encode_answer(self, image: Any, task: str, question: str | None, answer: str) -> Encoded:
        """One row with the answer to learn or to score, of tokens as this model learns the task's answers."""
        prompt = self.prompt(task, question)
        if task not in self.spelled:
            return self.encode(image, prompt, answer)
        letters = self.tokenizer(list(answer), add_special_tokens=False, split_special_tokens=True)
        ids = [i for letter in letters["input_ids"] for i in letter]
        return self.encode(image, prompt).answered([*ids, self.stop_ids[0]])

    @abstractmethod
    def patch_boxes(self, row: Encoded) -> Tensor:
        """(n, 4) float32: x0, y0, x1, y1 of each visual token, as fractions of the user's image."""

    def target_linears(self, leaf_names: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Full path of each linear of the language model with such a leaf name -> (layer, leaf name).

        Raises ValueError for a name that no layer has.
        """
        prefix = self.decoder_path
        inside = re.compile(r"layers\.(\d+)\..*?([^.]+)")
        found: dict[str, tuple[int, str]] = {}
        for path, module in self.decoder.named_modules():
            match = inside.fullmatch(path)
            if match and isinstance(module, nn.Linear):
                found[f"{prefix}.{path}"] = (int(match[1]), match[2])
        leaves = sorted({leaf for _, leaf in found.values()})
        for name in leaf_names:
            if name not in leaves:
                raise ValueError(
                    f"{self.name} has no linear '{name}' in its layers; it has {', '.join(leaves)}"
                )
        return {path: place for path, place in found.items() if place[1] in leaf_names}

    def collate(self, rows: Sequence[Encoded], side: str = "left") -> Batch:
        """Pad rows to one length, at the left (to generate) or at the right, and move them to the device."""
        return self.join(rows, side).to(self.device)

    def join(self, rows: Sequence[Encoded], side: str = "left") -> Batch:
        """What `collate` does, on the CPU."""
        if side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right', not {side!r}")
        if not rows:
            raise ValueError("a batch needs at least one row")
        shape = (len(rows), max(len(row.input_ids) for row in rows))
        input_ids = torch.full(shape, self.tokenizer.pad_token_id)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        modality = torch.full(shape, PAD, dtype=torch.int8)
        is_answer = torch.zeros(shape, dtype=torch.bool)
        for i, row in enumerate(rows):
            length = len(row.input_ids)
            start = shape[1] - length if side == "left" else 0
            here = slice(start, start + length)
            input_ids[i, here] = row.input_ids
            attention_mask[i, here] = 1
            modality[i, here] = row.modality
            is_answer[i, start + row.answer_start : start + length] = True
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        inputs |= self.token_inputs(attention_mask, modality, is_answer) | self.image_inputs(rows)
        return Batch(inputs, modality, is_answer)

    def token_inputs(self, attention_mask: Tensor, modality: Tensor, is_answer: Tensor) -> dict[str, Tensor]:
        """Further inputs (b, t) that follow from what each token is; here, plain positions."""
        return {"position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)}

    def image_inputs(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """The images of those rows that have one, joined; empty when none has."""
        shown = [row for row in rows if row.pixel_values is not None]
        if not shown:
            return {}
        pixels = torch.cat([row.pixel_values for row in shown if row.pixel_values is not None]).float()
        more = {name: torch.cat([row.more[name] for row in shown]) for name in shown[0].more}
        return {"pixel_values": pixels, **more}

    def rewindable_cache(self) -> Any:
        """An empty KV cache that can be cropped again, whatever the window of the attention."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config.get_text_config())
        cache.activate_past_recording()  # a sliding window forgets what going back would need
        return cache

    def forget(self) -> None:  # noqa: B027  # most keep nothing
        """Drop what is kept of earlier pictures, so that the next answer takes its whole time."""

    def modality_of(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(b, t) ids and mask -> (b, t) int8: VISUAL at placeholders, PAD where masked, TEXT elsewhere."""
        kinds = torch.full_like(input_ids, TEXT, dtype=torch.int8)
        kinds[input_ids == self.image_token_id] = VISUAL
        return kinds if attention_mask is None else kinds.masked_fill(attention_mask == 0, PAD)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of answer tokens, without special tokens and outer blanks."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def token_texts(self, ids: Tensor | Sequence[int]) -> list[str]:
        """One printable string per token; line breaks and tabs show as signs."""
        texts = [self.tokenizer.decode([i]) for i in torch.as_tensor(ids).tolist()]
        return [text.replace("\n", "⏎").replace("\t", "⇥") for text in texts]


def grid_boxes(
    rows: int, columns: int, area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
) -> Tensor:
    """(rows · columns, 4) float32: x0, y0, x1, y1 of the cells of a grid over `area`, row by row."""
    left, top, right, bottom = area
    xs = left + torch.arange(columns + 1, dtype=torch.float32) / columns * (right - left)
    ys = top + torch.arange(rows + 1, dtype=torch.float32) / rows * (bottom - top)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([xs[x], ys[y], xs[x + 1], ys[y + 1]], dim=-1).flatten(0, 1)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters, buffers and quantization constants; shared memory counts once."""
    sizes: dict[int, int] = {}

    def count(tensor: Tensor | None) -> None:
        if tensor is not None:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()

    for tensor in [*model.parameters(), *model.buffers()]:
        count(tensor)
        state = getattr(tensor, "quant_state", None)
        for part in (state, getattr(state, "state2", None)):
            count(getattr(part, "absmax", None))
        count(getattr(tensor, "SCB", None))  # the scales of LLM.int8
    return sum(sizes.values())
