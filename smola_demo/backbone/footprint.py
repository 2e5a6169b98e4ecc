"""How many bytes a model takes, part by part.

Weights, cache and training state are counted. Activations are approximate: the peak of the layer where most
is alive at once, in the vision tower or in the language model. In a transformer layer that is some copies of
the stream and the larger of

    the MLP        three maps of its intermediate width (gate, up and their product), or two and one
                   dequantized weight, or the product and the float32 copy that the experts read
    the attention  queries, keys and values before and after their rotation, all scores where it is "eager"

and after the last layer the logits of the positions that are kept. A layer in training also keeps what its
backward pass reads; with checkpointing every other layer keeps its input only.

Axes as in smola: t tokens in the batch, d width of the stream.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smola_demo.backbone.counts import Counts
    from smola_demo.backbone.pictures import Picture
    from smola_demo.backbone.quantization import Plan

CONTEXT = 600_000_000  # what CUDA, its kernels and libraries take before the first tensor
BLOCK, NESTED_BLOCK = 64, 256  # of NF4: weights per 8-bit constant, constants per float32 constant
PROMPT_TOKENS, ANSWER_TOKENS = 128, 96  # text around a picture, and the longest answer of our tasks
# Copies of the stream: embeddings, a layer's input, the sum after attention and the normalised one; in the
# language model also the embeddings before the picture's were put in, and the rotations.
TOWER_STREAMS, TEXT_STREAMS = 4, 6
FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part; activations, context and the cache's length are estimates, all else is counted.

    language      the language model's linears
    constants     what quantization keeps beside them
    embeddings    embeddings, head, norms and biases of the language model
    vision        vision tower and connector
    cache         keys and values of prompt and answer; sliding windows are ignored, so an upper bound
    activations   peak while the prompt is read
    context       what CUDA takes for itself
    adapter       experts and routers, float32
    fused         the copy of routers and A that answering reads as one matrix
    gradients     of the adapter
    optimizer     AdamW's two moments and step counts
    backward      peak of activations in a training step
    """

    language: int
    constants: int
    embeddings: int
    vision: int
    cache: int
    activations: int
    context: int
    adapter: int
    fused: int
    gradients: int
    optimizer: int
    backward: int

    @property
    def weights(self) -> int:
        """The frozen backbone."""
        return self.language + self.constants + self.embeddings + self.vision

    @property
    def asking(self) -> int:
        """Everything that answering takes."""
        return self.weights + self.adapter + self.fused + self.cache + self.activations + self.context

    @property
    def training(self) -> int:
        """Everything that training the experts takes."""
        state = self.adapter + self.gradients + self.optimizer
        return self.weights + state + self.backward + self.context

    def total(self, training: bool) -> int:
        """What training takes, or asking."""
        return self.training if training else self.asking

    def to_dict(self) -> dict[str, int]:
        """All parts and totals, in bytes."""
        totals = {"weights": self.weights, "asking": self.asking, "training": self.training}
        return {**asdict(self), **totals}


def estimate(
    counts: Counts,
    plan: Plan,
    picture: Picture,
    batch: int = 1,
    prompt_tokens: int = PROMPT_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
    checkpointing: bool = True,
) -> Estimate:
    """Bytes of a model held as planned, for `batch` rows of one picture, a prompt and an answer.

    Parts that are never quantized are float32 on a CPU and 16-bit on a GPU; those of the embedded model are
    float32 on both.
    """
    ours, half = hasattr(counts.tower, "widest_map"), plan.precision == "bf16"
    wide = (plan.precision == "fp32" or plan.device.type == "cpu" or ours) and not half
    vision_bytes = FLOAT if wide or ours else 2
    compute = FLOAT if wide else 2
    language, constants = _linears(counts, plan)
    prompt = picture.tokens + picture.markers + prompt_tokens
    text, length = counts.text, prompt + answer_tokens
    cached = 2 * text.num_hidden_layers * text.num_key_value_heads * head_width(text) * length * batch
    pixels, seeing = _seeing(counts, picture, batch, vision_bytes)
    read = _Layer(counts, plan, batch * prompt, prompt, compute).forward()
    kept = batch * answer_tokens * text.vocab_size * (2 * compute + 3 * FLOAT)
    step = _Layer(counts, plan, batch * length, length, compute).training(checkpointing, kept)
    adapter = counts.adapter * FLOAT
    return Estimate(
        language=language,
        constants=constants,
        embeddings=counts.embeddings * compute,
        vision=counts.vision * vision_bytes + counts.buffers,
        cache=cached * compute,
        activations=max(seeing, pixels + max(read, batch * text.vocab_size * (compute + FLOAT))),
        context=CONTEXT if plan.device.type == "cuda" else 0,
        adapter=adapter,
        fused=counts.fused * FLOAT,
        gradients=adapter,
        optimizer=2 * adapter + FLOAT * counts.tensors,
        backward=max(seeing, pixels + step),
    )


def _linears(counts: Counts, plan: Plan) -> tuple[int, int]:
    """(bytes of the language model's linears, bytes of what quantization keeps beside them)."""
    linears = counts.linears
    if plan.dequantize or plan.precision == "fp32":
        return linears.numbers * FLOAT, 0
    if plan.precision == "bf16":
        return linears.numbers * 2, 0
    if plan.precision == "int8":
        return linears.numbers, sum(out for out, _ in linears.shapes) * FLOAT
    blocks = [-(-out * inner // BLOCK) for out, inner in linears.shapes]
    return linears.numbers // 2, sum(n + -(-n // NESTED_BLOCK) * FLOAT for n in blocks)


def head_width(text: Any) -> int:
    """Width of one attention head."""
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


class _Layer:
    """What is alive at once in one layer of the language model, in bytes."""

    def __init__(self, counts: Counts, plan: Plan, t: int, length: int, size: int) -> None:
        text = counts.text
        self.layers = text.num_hidden_layers
        self.stream = t * text.hidden_size * size
        self.wide = t * text.intermediate_size * size
        self.queries = t * text.num_attention_heads * head_width(text) * size
        self.keys = t * text.num_key_value_heads * head_width(text) * size
        eager = text._attn_implementation == "eager"  # noqa: SLF001  transformers names it so
        self.returned = t * length * text.num_attention_heads * size * eager
        self.exact = FLOAT // size  # how much a float32 copy is larger
        self.scores = 2 * self.exact * self.returned
        packed = plan.precision == "nf4" and not plan.dequantize
        self.weight = counts.linears.largest * size * packed
        self.hidden = t * counts.hidden * FLOAT
        self.wrapped = len(counts.wrapped.shapes) / self.layers
        self.read = t * FLOAT * sum(inner for _, inner in counts.wrapped.shapes) // self.layers

    def forward(self) -> int:
        """Peak while a prompt passes."""
        copied = self.exact * self.wide if self.exact > 1 else 0
        experts = copied + (1 + self.exact) * self.stream + 4 * self.hidden
        mlp = max(3 * self.wide, 2 * self.wide + self.weight, self.wide + experts)
        attention = 4 * self.queries + 4 * self.keys + self.scores
        return TEXT_STREAMS * self.stream + max(mlp + self.returned, attention)

    def training(self, checkpointing: bool, logits: int) -> int:
        """Peak of a training step, whose head keeps `logits`. A frozen linear keeps nothing of its input."""
        inputs = 2 * self.read if self.exact > 1 else self.wide + self.stream
        experts = inputs + int(3 * self.wrapped * self.hidden)
        kept = 2 * self.exact * self.stream + 4 * self.queries + self.scores + 3 * self.wide + experts
        passing = 2 * self.wide + self.weight
        if checkpointing:
            return self.layers * self.stream + max(kept + passing, logits)
        return self.layers * kept + max(passing, logits)


def _seeing(counts: Counts, picture: Picture, batch: int, size: int) -> tuple[int, int]:
    """(bytes of the pixels, peak of the vision tower): pixels, streams, and the wider sublayer."""
    tower, tiles = counts.tower, batch * picture.tiles
    pixels = 3 * tiles * picture.side**2 * getattr(tower, "temporal_patch_size", 1) * size
    if hasattr(tower, "widest_map"):
        return pixels, pixels + 3 * tiles * tower.widest_map * size
    positions = tiles * picture.patches
    # Qwen2-VL's tower has a width of its own name; its hidden size is that of the language model.
    width = getattr(tower, "embed_dim", None) or tower.hidden_size
    inner = getattr(tower, "intermediate_size", None) or round(width * tower.mlp_ratio)
    stream, wide = positions * width * size, positions * inner * size
    heads = getattr(tower, "num_attention_heads", None) or tower.num_heads
    eager = tower._attn_implementation == "eager"  # noqa: SLF001  transformers names it so
    attention = 3 * stream + positions * heads * picture.patches * (2 * size + FLOAT) * eager
    if hasattr(tower, "spatial_merge_size"):  # such towers rotate queries and keys, in float32
        attention += 6 * stream // size * FLOAT
    else:
        pixels *= 2  # the tower takes its own copy
    return pixels, pixels + TOWER_STREAMS * stream + max(counts.gates * wide, attention)
