"""The command line's contract: keys, one JSON object on stdout, exit codes, one sentence per error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image
from tiny import tiny_backbone
from tiny_experts import tiny_engine
from tiny_vlm import tiny_folder

from smola_demo import bench_peers, commands
from smola_demo.__main__ import build_parser, main
from smola_demo.backbone.families import FAMILIES
from smola_demo.data import GENERATORS
from smola_demo.trace import RoutingTrace

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return str(path)


@pytest.fixture
def engine(monkeypatch):
    made = tiny_engine()
    monkeypatch.setattr(commands, "load_engine", lambda _options: made)
    return made


def run(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1, "exactly one line of JSON on stdout"
    return json.loads(out)


def refused(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    reason = captured.err.splitlines()[-1]
    assert reason.startswith("smola_demo: ")
    assert "Traceback" not in captured.err
    return reason


def test_ask_has_every_key(engine, capsys, picture, tmp_path):
    trace = tmp_path / "new" / "run.npz"
    result = run(
        capsys, "ask", picture, "--task", "vqa", "--question", "What is it?", "--max-new-tokens", "5",
        "--ablate", "visual:1@0/mlp", "--routing", "--trace", str(trace),
    )  # fmt: skip
    keys = {
        "answer",
        "task",
        "tokens",
        "backbone",
        "experts",
        "precision",
        "device",
        "ablation",
        "timing",
        "memory_mb",
    }
    assert keys <= set(result)
    assert set(result["tokens"][0]) == {"text", "logprob"}
    assert result["ablation"] == {"spec": "visual:1@0/mlp", "modules_touched": 1}
    assert set(result["timing"]) == {"load_s", "prefill_s", "decode_s", "tokens_per_s"}
    assert set(result["routing"]) == {"prompt", "answer"}
    assert set(result["routing"]["prompt"]) == {"visual", "text", "multimodal"}
    assert set(result["routing"]["answer"]) == {"text", "multimodal"}, "no visual token is generated"
    for group in result["routing"]["prompt"].values():
        assert set(group) == {"mean_weight", "contribution", "entropy", "uniform_entropy"}
        assert sum(group["mean_weight"]) <= 1 + 1e-5
        assert 0 <= group["entropy"] <= group["uniform_entropy"] + 1e-5
    loaded = RoutingTrace.load(trace)
    assert loaded.phase.sum() == len(result["tokens"]) - 1


def test_an_atlas_makes_the_folder_it_is_asked_for(engine, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("smola_demo.data.gallery.gallery_rows", list)
    told = run(capsys, "atlas", "--drawn", "1", "--out", str(tmp_path / "new" / "place"))
    path = tmp_path / "new" / "place" / "atlas.json"
    assert (told["atlas"], told["rows"]) == (str(path), len(GENERATORS))
    assert json.loads(path.read_text())["format"] == "smola-atlas"


def test_sweep_has_every_key(engine, capsys, picture):
    result = run(capsys, "sweep", picture, "--task", "caption", "--max-new-tokens", "3")
    assert {"baseline", "experts", "seconds"} <= set(result)
    assert {"answer", "logprob"} <= set(result["baseline"])
    keys = {"group", "expert", "delta_logprob", "js", "weight", "contribution", "answer_changed"}
    assert keys <= set(result["experts"][0])
    assert len(result["experts"]) == 9


def test_evaluate_judges_and_lists_what_failed(engine, capsys, picture, tmp_path):
    rows = [
        {"image": "picture.png", "task": "vqa", "question": "What is it?", "answers": ["a dog"]},
        {"image": "picture.png", "task": "caption", "question": None, "answers": ["grey", "a gradient"]},
        {"image": "missing.png", "task": "vqa", "question": "What is it?", "answers": ["a dog"]},
    ]
    suite = tmp_path / "rows.jsonl"
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(capsys, "evaluate", "--suite", str(suite), "--out", str(tmp_path / "out"))
    assert {"tasks", "mean", "seconds", "failed"} <= set(result)
    assert result["tasks"]["vqa"]["n"] == 2, "a picture that cannot be read counts as a wrong answer"
    assert set(result["tasks"]["vqa"]) >= {"metric", "value", "ci95", "n"}
    assert [row["reason"] for row in result["failed"]] != []
    assert "missing.png" in result["failed"][0]["image"]
    values = [task["value"] for task in result["tasks"].values()]
    assert result["mean"] == pytest.approx(sum(values) / 2)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["mean"] == result["mean"]


@pytest.fixture
def suite(picture, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"image": "picture.png", "task": "vqa", "question": "What is it?", "answers": ["a dog"]}] * 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_evaluate_cannot_do_is_told_before_the_work(engine, capsys, suite, tmp_path, monkeypatch):
    engine.adapter = None
    monkeypatch.setattr(engine, "answer_many", lambda _: pytest.fail("answered first"))
    for look in ("--health", "--checks"):
        assert "choose some with --experts" in refused(capsys, "evaluate", "--suite", suite, look, "2")
    taken = tmp_path / "file"
    taken.write_text("")
    assert "File exists" in refused(capsys, "evaluate", "--suite", suite, "--out", str(taken))


def test_answers_are_kept_where_what_follows_them_fails(engine, capsys, suite, tmp_path, monkeypatch):
    def failing(*_args, **_options):
        raise ValueError("too few rows")

    monkeypatch.setattr("smola_demo.health.health", failing)
    out = tmp_path / "out"
    assert "too few rows" in refused(capsys, "evaluate", "--suite", suite, "--health", "2", "--out", str(out))
    assert json.loads((out / "metrics.json").read_text())["tasks"]["vqa"]["n"] == 2


def test_evaluate_writes_into_a_loras_own_folder(engine, capsys, suite, tmp_path):
    config = tmp_path / "lora" / "adapter_config.json"
    config.parent.mkdir()
    config.write_text('{"peft_type": "LORA"}')
    run(capsys, "evaluate", "--suite", suite, "--out", str(config.parent))
    assert {p.name for p in config.parent.iterdir()} == {config.name, "metrics.json", "scores.json"}


def test_evaluate_scores_a_known_engine(capsys, monkeypatch, picture, tmp_path):
    """An engine that always says one thing: the metric sees exactly that."""

    class Parrot:
        def answer_many(self, requests):
            return ["two dogs" for _ in requests]

        def info(self):
            return tiny_engine().info()

    monkeypatch.setattr(commands, "load_engine", lambda _options: Parrot())
    suite = tmp_path / "rows.jsonl"
    answers = ["2", "3", "two", "2 dogs"]
    rows = [
        {"image": "picture.png", "task": "count", "question": "How many?", "answers": [a]} for a in answers
    ]
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(capsys, "evaluate", "--suite", str(suite))["tasks"]["count"]["value"] == 0.75


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own
def test_bench_gives_medians_with_their_spread(engine, capsys, monkeypatch):
    monkeypatch.setattr(bench_peers, "_again", lambda _backbone: tiny_backbone())
    result = run(capsys, "bench", "--rounds", "2", "--what", "all")
    lora = {"lora_prefill", "lora_decode", "lora_training_step", "xlora_token"}
    grown = {f"prefill_{experts}" for experts in bench_peers.GROWTH}
    assert set(result["ratios"]) == {"prefill", "decode", "capture", "sweep"} | lora | grown
    for ratio in result["ratios"].values():
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]


def test_info_loads_no_weights(capsys, monkeypatch):
    monkeypatch.setattr(commands, "load_engine", lambda _options: pytest.fail("info must not load a model"))
    result = run(capsys, "info")
    assert {"backbones", "checkpoints", "tasks", "device", "versions"} <= set(result)
    assert [task["name"] for task in result["tasks"]][:2] == ["caption", "vqa"]


def test_text_output_reads_well(engine, capsys, picture):
    assert main(["ask", picture, "--task", "caption", "--max-new-tokens", "2"]) == 0
    assert "experts tiny-experts" in capsys.readouterr().out
    assert main(["sweep", picture, "--task", "caption", "--max-new-tokens", "2"]) == 0
    assert "visual:0 all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "paint"], "caption"),
        (["--task", "vqa", "--question", " "], "question"),
        (["--task", "caption", "--ablate", "visual:99"], "0 to 2"),
        (["--task", "caption", "--ablate", "nonsense"], "visual:3"),
    ],
)
def test_what_cannot_be_asked_gets_one_sentence(engine, capsys, picture, arguments, says):
    assert says in refused(capsys, "ask", picture, *arguments)


def test_a_missing_or_broken_picture_gets_one_sentence(engine, capsys, tmp_path):
    assert "nowhere.png" in refused(capsys, "ask", str(tmp_path / "nowhere.png"), "--task", "caption")
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    refused(capsys, "ask", str(text), "--task", "caption")


def test_a_study_without_enough_memory_says_what_to_do(capsys, tmp_path, monkeypatch):
    def run_out(*_args, **_options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("smola_demo.study.run", run_out)
    path = tmp_path / "study.json"
    base = {"stage": "experts", "output": "unused", "data": [{"name": "shapes"}]}
    path.write_text(json.dumps({"base": base, "arms": {"one": {}}, "output": "runs/study"}))
    assert "not enough memory to train: set gradient_checkpointing" in refused(capsys, "study", str(path))


def test_train_says_what_is_wrong_with_its_config(capsys, tmp_path):
    path = tmp_path / "run.json"
    path.write_text("{")
    assert "not valid JSON" in refused(capsys, "train", str(path))
    path.write_text("[" * 100_000)
    assert "not valid JSON" in refused(capsys, "train", str(path))
    assert "cannot be read as a study" in refused(capsys, "study", str(path))
    path.write_text('{"stage": "experts", "output": "x", "data": [{"name": "shapes"}]}')
    assert "steps" in refused(capsys, "train", str(path), "--set", "steps=0")
    assert "rank" in refused(capsys, "train", str(path), "--set", "smola.rank=-1")
    assert "colour" in refused(capsys, "train", str(path), "--set", "colour=red")
    assert "a whole number" in refused(capsys, "train", str(path), "--set", "steps=" + "[" * 100_000)
    assert "key=value" in refused(capsys, "train", str(path), "--set", "steps")


@pytest.mark.filterwarnings("default")
def test_a_warning_of_ours_is_one_line_that_names_no_code(capsys, monkeypatch):
    def warn(_options):
        for message, where in (("left out: p1.png", main.__code__.co_filename), ("old\n", "library.py")):
            warnings.warn_explicit(message, UserWarning, where, 7)
        return {}

    monkeypatch.setattr(commands, "info", warn)
    assert main(["info", "--json"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "smola_demo: left out: p1.png"
    assert told[1] == "library.py:7: UserWarning: old"


def test_wrong_usage_exits_with_two(capsys):
    for arguments in (["ask"], ["paint"], ["ask", "x.png", "--task", "caption", "--precision", "fp7"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def test_every_command_explains_itself_with_an_example():
    parser = build_parser()
    commands_of = parser._subparsers._group_actions[0].choices
    assert set(commands_of) >= {"info", "ask", "sweep", "evaluate", "train", "bench", "fetch"}
    for name, sub in commands_of.items():
        said = sub.format_help()
        assert f"python -m smola_demo {name}" in said
        for file in re.findall(r"(?:configs|assets)/[\w-]+\.\w+", said + parser.format_help()):
            assert (ROOT / file).is_file(), f"{name}: {file}"


@pytest.mark.slow
def test_as_a_process_with_a_broken_picture(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    done = subprocess.run(
        [sys.executable, "-m", "smola_demo", "ask", str(broken), "--task", "caption", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("smola_demo: ")
    assert "Traceback" not in done.stderr


def test_a_folder_is_a_backbone(capsys, picture):
    folder = str(tiny_folder("smolvlm"))
    asked = ("ask", picture, "--task", "caption", "--backbone", folder, "--max-new-tokens", "3")
    bare = run(capsys, *asked)
    assert (bare["backbone"], bare["experts"], bare["compute"]) == (
        folder,
        "none",
        "NF4 weights, computed in fp32",
    )
    untrained = run(capsys, *asked, "--experts", "untrained", "--precision", "nf4", "--routing")
    assert untrained["experts"] == "untrained"
    assert set(untrained["routing"]) == {"prompt", "answer"}
    assert "no backbone 'nothing/there'" in refused(capsys, *asked[:4], "--backbone", "nothing/there")
    assert run(capsys, "info")["families"] == list(FAMILIES)


def test_a_reader_that_has_enough_is_no_error():
    command = [sys.executable, "-m", "smola_demo", "fit", "--table"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
