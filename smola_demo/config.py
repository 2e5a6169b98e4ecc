"""What a mixture and a training run are made of: frozen, validated, plain values that go to JSON and back.

Knows nothing of torch, of files or of the command line.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import reprlib
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, Self, cast, get_args, get_origin, get_type_hints

Group = Literal["visual", "text", "multimodal"]
Routing = Literal["token", "prefix"]
Precision = Literal["nf4", "int8", "bf16", "fp32"]
Stage = Literal["words", "cells", "align", "experts"]
Method = Literal["smola", "lora"]
Optimizer = Literal["adamw", "adamw8bit", "paged_adamw8bit"]

# Visual first: a decode step has no visual token, so what it needs is one slice of the fused weights.
GROUPS: tuple[Group, ...] = get_args(Group)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
HUB = "hub:"  # begins the name of a data set that the library `datasets` reads


class ConfigError(ValueError):
    """A value that no run could use; the message names the field, the value and what is allowed."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _require_positive(config: JsonConfig, *names: str) -> None:
    for name in names:
        _require(getattr(config, name) > 0, f"{name} must be positive, not {getattr(config, name)}")


def _is_kind(value: Any, kind: Any) -> bool:
    """Whether a value is of the annotated kind; an int may stand for a float, a bool for neither."""
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(
            _is_kind(v, get_args(kind)[0]) for v in cast("tuple[Any]", value)
        )
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return _is_kind(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _from_json(value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_from_json(v, get_args(kind)[0]) for v in cast("list[Any]", value))
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, JsonConfig):
        return kind.from_dict(cast("dict[str, Any]", value))
    return cast("Any", value)


def _spell(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list, each {_spell(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return names.get(kind, "an object")


@dataclass(frozen=True)
class JsonConfig:
    """Kinds of values, reading from and writing to plain JSON objects: shared by every config here."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            _require(_is_kind(value, kind), f"{name} must be {_spell(kind)}, not {reprlib.repr(value)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a JSON object. Raises ConfigError on a wrong or absent key or value."""
        kinds = get_type_hints(cls)
        unknown = sorted(set(values) - set(kinds))
        _require(
            not unknown, f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(kinds))}"
        )
        needed = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
        absent = [name for name in kinds if name in needed - set(values)]
        _require(not absent, f"{cls.__name__} needs {', '.join(absent)}")
        return cls(**{name: _from_json(value, kinds[name]) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """The values as a JSON object (tuples become lists, configs become objects)."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class SmolaConfig(JsonConfig):
    """One Omni-SMoLA mixture, the same for every wrapped linear.

    groups            expert sets, each with its own router: "visual" and "text" serve their own tokens,
                      "multimodal" serves all
    num_experts       experts per group (E)
    rank              rank of one expert (r)
    num_slots         slots per expert (S); more than one only means something when routing is "prefix"
    routing           "token": every token mixes the experts' outputs for itself.
                      "prefix": Soft MoE; slots pool the prompt's tokens, every token mixes the slots' outputs
    target_modules    leaf names of the linears to wrap inside the language model
    layers            indices of the language-model layers to wrap; empty means all
    shared_router     linears that read the same input (q, k, v; gate, up) share one router
    scaling           factor on every expert's output, a LoRA's alpha / rank. A group's weights sum to 1: at
                      num_experts, an even mixture acts as strongly as a LoRA of all its experts
    router_scale      first value of the learned scale on the cosine logits; 1.0 starts nearly uniform
    """

    groups: tuple[Group, ...] = GROUPS
    num_experts: int = 8
    rank: int = 4
    num_slots: int = 1
    routing: Routing = "token"
    target_modules: tuple[str, ...] = ("q_proj", "v_proj", "down_proj")
    layers: tuple[int, ...] = ()
    shared_router: bool = False
    scaling: float = 1.0
    router_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(bool(self.groups), "groups is empty; choose from " + ", ".join(GROUPS))
        _require(len(set(self.groups)) == len(self.groups), f"groups repeats a name: {self.groups}")
        # One order everywhere, so that traces and files agree.
        object.__setattr__(self, "groups", tuple(sorted(self.groups, key=GROUPS.index)))
        _require_positive(self, "num_experts", "rank", "num_slots", "scaling", "router_scale")
        _require(
            self.routing == "prefix" or self.num_slots == 1,
            f"num_slots is {self.num_slots}, but token routing has no slots: "
            "set num_slots to 1 or routing to 'prefix'",
        )
        _require(self.scaling <= 1e6, f"scaling must be 1e6 at most, not {self.scaling}")
        _require(self.router_scale <= 1e6, f"router_scale must be 1e6 at most, not {self.router_scale}")
        _require(bool(self.target_modules), "target_modules is empty; name a linear, such as 'q_proj'")
        _require(all(i >= 0 for i in self.layers), f"layers must not be negative: {self.layers}")


@dataclass(frozen=True)
class DataSource(JsonConfig):
    """One ingredient of a training mixture.

    name      a generator ("shapes", "counts", "words", "charts", "forms", "tables", "scenes"), the path of a
              JSONL file of rows, or "hub:owner/name" for a data set on the Hugging Face hub
    weight    how often it is drawn, relative to the others
    tasks     keep only rows of these tasks; empty keeps all; of a hub's set, the one task its rows are of
    derive    add questions whose answers a file's captions make certain (`data.photo_questions`)
    pack      most questions on one of its pictures in a sequence; 0 for the run's `pack`
    split     of a hub's set: which of its splits
    columns   of a hub's set: what it calls picture, question and answers
    """

    name: str
    weight: float = 1.0
    tasks: tuple[str, ...] = ()
    derive: bool = False
    pack: int = 0
    split: str = "train"
    columns: tuple[str, ...] = ("image", "question", "answers")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.name.startswith(HUB) or (self.split, self.columns) == (DataSource.split, DataSource.columns),
            f"split and columns are for a hub's set: '{self.name}' does not begin with {HUB}",
        )
        _require(len(self.columns) == 3, f"columns are picture, question and answers, not {self.columns}")
        _require(
            not self.name.startswith(HUB) or len(self.tasks) == 1,
            f"the rows of '{self.name}' have no task: give tasks the one they are of",
        )
        _require(self.weight > 0, f"weight of data source '{self.name}' must be positive, not {self.weight}")
        _require(self.pack >= 0, f"pack of data source '{self.name}' must not be negative, not {self.pack}")


@dataclass(frozen=True)
class TrainConfig(JsonConfig):
    """One training run: what is trained, on what, for how long, and where the result goes.

    Stages "words", "cells" and "align" train the connector (and, if `tune_vision`, the vision tower) of the
    embedded backbone, from scratch or from `init_base`; "experts" trains routers and experts only, on
    `init_base` or the shipped one. With `experts_output`, align trains experts beside the connector and saves
    them there: a language model that learns to listen while the connector learns to speak. Learning rates are
    peak values of a cosine schedule with a linear warm-up over the first `warmup` share of the steps.

    With `method` "lora", the stage "experts" trains a LoRA on the linears that `smola` names instead: of
    rank `lora_rank`, or, at 0, of as many parameters as that mixture. Where `init_experts` names trained
    experts they stay below it, frozen: a generalist tuned for a task. A mixture of their groups and routing
    goes on from them instead: at another `scaling` B is scaled so that it starts from what they do, at
    another `router_scale` their learned scales are multiplied by the ratio. `about` is for people.

    Of align's steps with experts each `bare_every`-th runs without them, at 0 none: for a connector that
    serves the bare backbone too. It learns at `connector_learning_rate`, or, at 0, as experts do: it writes
    numbers as small as embeddings, so a rate that suits experts soon makes visual tokens many times longer.
    With `shorten` it starts with tokens as long as words (`backbone.connector.shorten`).

    `mixed_precision` "auto" is bf16 where the device has it in hardware. For small cards:
    `gradient_checkpointing` keeps only the inputs of the language model's layers and runs them again in
    backward; optimizers in 8 bit hold a quarter of AdamW's state, the paged one moves it to the host where
    a GPU runs short. `bucket` batches at a time are filled by length, so that less is padding. `ema` is the
    decay of a running mean of what is trained, which is then judged and saved; 0: off.
    """

    stage: Stage
    output: str
    data: tuple[DataSource, ...]
    about: str = ""
    smola: SmolaConfig = field(default_factory=SmolaConfig)
    method: Method = "smola"
    lora_rank: int = 0
    backbone: str = "embedded"
    precision: str = "auto"
    init_base: str = ""
    shorten: bool = False
    init_experts: str = ""
    experts_output: str = ""
    bare_every: int = 4
    steps: int = 1000
    batch_size: int = 8
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    bucket: int = 1
    pack: int = 5
    max_answer_tokens: int = 64
    max_answer_chars: int = 120
    learning_rate: float = 1e-3
    connector_learning_rate: float = 0.0
    router_learning_rate: float = 1e-3
    scale_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    optimizer: Optimizer = "adamw"
    ema: float = 0.0
    warmup: float = 0.03
    clip_norm: float = 1.0
    tune_vision: bool = False
    vision_learning_rate: float = 1e-4
    mixed_precision: Literal["no", "auto", "bf16"] = "no"
    num_workers: int = 0
    seed: int = 0
    dev_groups: int = 64
    save_every: int = 100
    log_every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(bool(self.data), "data is empty; name at least one source")
        _require(bool(self.output), "output is empty; name the folder the checkpoint goes to")
        _require_positive(self, "steps", "batch_size", "gradient_accumulation", "pack", "clip_norm", "bucket")
        _require_positive(self, "max_answer_tokens", "save_every", "dev_groups", "log_every", "learning_rate")
        _require_positive(self, "router_learning_rate", "scale_learning_rate", "vision_learning_rate")
        for name in ("connector_learning_rate", "bare_every", "lora_rank"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, not {getattr(self, name)}")
        _require(0 <= self.ema < 1, f"ema is a decay, 0 to below 1, not {self.ema}")
        _require(
            not (self.gradient_checkpointing and self.stage in ("words", "cells")),
            f"{self.stage} runs no language model: gradient_checkpointing is for align and experts",
        )
        _require(self.stage != "words" or self.batch_size >= 4, "words needs a batch_size of 4 at least")
        _require(not self.tune_vision or self.stage != "experts", "tune_vision is not for the stage experts")
        _require(0 <= self.warmup < 1, f"warmup is a share of the steps, 0 to below 1, not {self.warmup}")
        for name in ("experts_output", "shorten"):
            _require(not getattr(self, name) or self.stage == "align", f"{name} is for the stage align alone")
        experts = self.stage == "experts" or bool(self.experts_output)
        _require(experts or not self.init_experts, "init_experts needs the stage experts, or experts_output")
        _require(self.method == "smola" or self.stage == "experts", "method 'lora' is for the stage experts")
        _require(
            not self.num_workers or "fork" in multiprocessing.get_all_start_methods(),
            "num_workers needs a system that can fork a process: set it to 0 here",
        )
        _require(not self.lora_rank or self.method == "lora", "lora_rank is for method 'lora', not 'smola'")
        _require(
            self.stage == "experts" or self.backbone == "embedded",
            f"{self.stage} makes the connector of the embedded backbone, not of '{self.backbone}'",
        )
        if experts and self.method == "smola":  # a LoRA may lie over experts of another routing
            self.check_packing(self.smola.routing)

    def check_packing(self, routing: Routing) -> None:
        """Raise ConfigError where experts of this routing would pool several rows of a sequence."""
        packs = any((source.pack or self.pack) > 1 for source in self.data)
        _require(not packs or routing == "token", "prefix routing pools one row's prompt: set pack to 1")


def override(values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value into a config's object; dots in the key go into nested objects. Raises ConfigError."""
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        _require(isinstance(inner, dict), f"{key}: '{parent}' is not an object")
        values = inner
    values[leaf] = value
