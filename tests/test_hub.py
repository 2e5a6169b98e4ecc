"""Finding a model: what is allowed, what is not there, and what tells one set of weights from another."""

from __future__ import annotations

import json
import shutil

import httpx
import huggingface_hub
import pytest
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tiny_vlm import noise, tiny_folder

from smola_demo.backbone import BackboneError, hub, load_backbone
from smola_demo.backbone.families import FAMILIES, family_of
from smola_demo.backbone.family import FamilyBackbone
from smola_demo.data.images import ImageError
from smola_demo.engine import Engine

ID = "someone/some-model"


def copy_of(name, tmp_path):
    return shutil.copytree(tiny_folder(name), tmp_path / "model")


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def answer_of_the_hub(monkeypatch, error):
    def download(id, name, revision=None):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def http(kind, status):
    asked = httpx.Request("GET", "https://huggingface.co")
    return kind("refused", response=httpx.Response(status, request=asked))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (http(errors.GatedRepoError, 403), f"gated: accept its terms at https://huggingface.co/{ID}"),
        (http(errors.RepositoryNotFoundError, 404), "the hub has none of that name, or it is private"),
        (http(errors.RemoteEntryNotFoundError, 404), "holds no config.json"),
        (errors.LocalEntryNotFoundError("no cache"), "hub cannot be reached: connect once, or give a folder"),
        (errors.OfflineModeIsEnabled("offline"), "hub cannot be reached: connect once, or give a folder"),
        (http(errors.HfHubHTTPError, 500), "hub cannot be reached: connect once, or give a folder"),
        (errors.HFValidationError("bad"), "no name of a model"),
    ],
)
def test_a_hub_that_does_not_give(monkeypatch, error, says):
    answer_of_the_hub(monkeypatch, error)
    with pytest.raises(BackboneError, match=says) as found:
        load_backbone(ID)
    assert str(found.value).startswith(f"no backbone '{ID}': ")
    assert "\n" not in str(found.value)


def test_offline_with_nothing_cached_is_one_sentence(monkeypatch, tmp_path):
    """The library itself, not a stand-in: the tests run with the hub switched off."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match="connect once, or give a folder"):
        load_backbone(ID)


@pytest.mark.parametrize("id", ["llava", "a/b/c", "/nowhere/at-all", "./none", "~/model", ""])
def test_neither_folder_nor_hub_id(id):
    with pytest.raises(BackboneError, match=f"no backbone '{id}': there is 'embedded'"):
        load_backbone(id)


def test_a_cached_snapshot_loads_at_its_commit(monkeypatch, tmp_path):
    """A hub id is the same code with a name: the folder of the snapshot stands for the hub here."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--someone--some-model" / "snapshots" / commit
    shutil.copytree(tiny_folder("llava"), snapshot)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = load_backbone(ID, "nf4", "cpu")
    assert (backbone.id, backbone.name, backbone.licence) == (ID, "some-model", "mit")
    assert backbone.revision == commit


def test_a_type_that_none_serves_names_those_that_are(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackboneError, match=f"type 'bert'.* choose one of {', '.join(FAMILIES)}"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "config.json is missing"), ("{", "not valid JSON"), ("[]", "type 'None'")],
)
def test_a_folder_without_a_model(tmp_path, text, says):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(BackboneError, match=says):
        load_backbone(str(tmp_path))


def test_damaged_models_are_one_sentence(tmp_path):
    folder = copy_of("llava", tmp_path)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({k: v for k, v in tensors.items() if "o_proj" not in k}, weights, metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"do not fit its config .*o_proj"):
        load_backbone(str(folder), "fp32", "cpu")
    weights.write_bytes(b"none")
    with pytest.raises(BackboneError, match="could not be loaded"):
        load_backbone(str(folder), "fp32", "cpu")
    weights.unlink()
    with pytest.raises(BackboneError, match=r"could not be loaded .*safetensors"):
        load_backbone(str(folder), "fp32", "cpu")


def test_what_cannot_be_served_is_said(tmp_path):
    folder = copy_of("llava", tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BackboneError, match="no chat template"):
        load_backbone(str(folder), "fp32", "cpu")
    edit(folder / "config.json", quantization_config={"quant_method": "awq"})
    with pytest.raises(BackboneError, match="quantized already"):
        load_backbone(str(folder), "fp32", "cpu")


def test_a_tower_that_llava_is_not_served_with():
    backbone = load_backbone(str(tiny_folder("llava")), "fp32", "cpu")
    backbone.model.config.vision_config.model_type = "pixtral"
    with pytest.raises(BackboneError, match=r"a pixtral.* choose one of clip_vision_model, siglip"):
        backbone.check()


def test_no_code_of_the_repository_runs(tmp_path):
    """A config that asks for code of its own is read as its model_type says."""
    folder = copy_of("llava", tmp_path)
    (folder / "evil.py").write_text("raise SystemExit('code of a checkpoint was run')")
    edit(
        folder / "config.json", auto_map={"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.C"}
    )
    assert load_backbone(str(folder), "fp32", "cpu").model.config.model_type == "llava"


def test_only_what_is_allowed(monkeypatch):
    folder = str(tiny_folder("llava"))
    monkeypatch.setenv("SMOLA_BACKBONES", f"embedded, {folder}")
    assert load_backbone(folder, "fp32", "cpu").id == folder
    with pytest.raises(BackboneError, match=f"'{ID}' may not be loaded here: choose embedded, {folder}"):
        load_backbone(ID)
    monkeypatch.setenv("SMOLA_BACKBONES", ID)
    with pytest.raises(BackboneError, match="'embedded' may not be loaded here"):
        load_backbone()


def test_the_revision_tells_weights_apart(tmp_path):
    folder = copy_of("llava", tmp_path)
    first = hub.revision(hub.find(str(folder)))
    assert first == hub.revision(hub.find(str(tiny_folder("llava"))))
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    save_file(
        tensors | {name: tensors[name].double()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    second = hub.revision(hub.find(str(folder)))
    edit(folder / "config.json", vision_feature_layer=-1)
    assert len({first, second, hub.revision(hub.find(str(folder)))}) == 3


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: own-terms\n---\n", "own-terms"),
        ("---\ntags: [x]\n---\n", "unknown"),
        ("no metadata", "unknown"),
        ("---\nlicense: apache: 2.0\n---\n", "unknown"),
        (f"---\nlicense: {'[' * 5000}\n---\n", "unknown"),
        ("---\n- mit\n---\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_the_cards(tmp_path, card, named):
    (tmp_path / "config.json").write_text("{}")
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert hub.licence(hub.find(str(tmp_path)), "unknown") == named


def test_experts_of_another_backbone_are_refused_and_untrained_ones_say_so():
    folder = str(tiny_folder("llava"))
    with pytest.raises(ValueError, match=f"made for the backbone 'embedded', not for '{folder}'"):
        Engine.load(folder, "embedded-omni", "fp32", "cpu")
    assert Engine.load(folder, "", "fp32", "cpu").info().experts_state == "none"
    info = Engine.load(folder, "untrained", "fp32", "cpu").info()
    assert (info.experts, info.experts_state) == ("untrained", "untrained")


def test_every_family_is_a_family():
    for kind in FAMILIES:
        assert issubclass(family_of(kind), FamilyBackbone)


def test_a_strip_is_refused_before_it_is_scaled_to_gigabytes():
    """CLIP's processor brings the short side to its size first and cuts afterwards."""
    backbone = load_backbone(str(tiny_folder("llava")), "fp32", "cpu")
    assert len(backbone.encode(noise((600, 20)), "What?").boxes) > 0
    with pytest.raises(ImageError, match=r"no picture of 2048 × 2 pixels, .* 30 times as long as wide"):
        backbone.encode(noise((2048, 2)), "What?")
