"""The embedded model with its shipped experts, end to end: the promises of the README, kept."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from smola_demo.data.images import ImageError, open_image
from smola_demo.engine import Engine
from smola_demo.results import Request

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CAT = ROOT / "assets" / "cat.jpg"
VOLATILE = ("timing", "memory_mb")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def ask(*arguments: str, image: Path = CAT) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "smola_demo", "ask", str(image), "--json", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {key: value for key, value in json.loads(done.stdout).items() if key not in VOLATILE}


def answer_of(engine: Engine, request: Request):
    *_, answer = engine.answer(request)
    return answer


def request(
    name: str = "cat.jpg", task: str = "caption", question: str | None = None, ablation: str = ""
) -> Request:
    return Request(open_image(ROOT / "assets" / name), task, question, ablation)


def test_the_shipped_experts_are_trained_and_say_so(engine):
    info = engine.info()
    assert (info.experts, info.experts_state) == ("embedded-omni", "trained")
    assert info.precision == "nf4"


def test_all_experts_out_is_the_bare_backbone_to_the_last_bit(engine):
    bare = answer_of(Engine.load(experts="none"), request())
    ablated = answer_of(engine, request(ablation="text:*;visual:*;multimodal:*"))
    assert bare.tokens == ablated.tokens
    assert ablated.modules_touched > 0


def test_two_processes_and_two_orders_give_the_same_answers(engine):
    first = request("stars.png", "count", "How many stars are there?")
    second = request("cat.jpg", "caption", None, "visual:0-3")
    forwards = [answer_of(engine, r).tokens for r in (first, second)]
    backwards = [answer_of(engine, r).tokens for r in (second, first)]
    assert forwards == backwards[::-1]
    apart = ask("--task", "caption", "--ablate", "visual:0-3")
    told = [{"text": token.text, "logprob": token.logprob} for token in forwards[1]]
    assert apart["tokens"] == told, "to the last bit"


def test_experts_change_what_the_model_thinks(engine):
    *_, comparison = engine.compare(request(ablation="text:*;visual:*;multimodal:*"))
    assert abs(comparison.delta_logprob) > 0.5, "whether they help is for metrics.json to say"


def test_nf4_kernels_and_dequantized_weights_agree():
    """4-bit storage and the same values in fp32: answers agree to rounding."""
    quick = answer_of(Engine.load(), request())
    kernels = answer_of(Engine.load(precision="nf4"), request())
    assert quick.compute != kernels.compute
    assert [t.id for t in quick.tokens] == [t.id for t in kernels.tokens]
    for a, b in zip(quick.tokens, kernels.tokens, strict=True):
        assert a.logprob == pytest.approx(b.logprob, abs=0.02)


def test_one_pixel_is_answered(engine):
    data = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(data, "PNG")
    assert answer_of(engine, Request(open_image(data.getvalue()), "caption")).tokens


def test_a_text_file_called_png_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "letter.png"
    path.write_text("Dear reader,")
    with pytest.raises(ImageError):
        open_image(path)
