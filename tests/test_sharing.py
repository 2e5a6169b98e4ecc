"""Experts go to the hub and come back; the hub is a recorder and a folder, never the network."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from tiny import tiny_backbone
from tiny_experts import with_experts

from smola_demo import commands, sharing
from smola_demo.__main__ import main
from smola_demo.adapter import AdapterError
from smola_demo.backbone import BackboneError
from smola_demo.engine import Engine
from smola_demo.experts import FILES, ExpertsError, find_experts, on_hub
from smola_demo.sharing import from_pretrained, push_to_hub, save_pretrained

ID, COMMIT = "some.one/my-experts", "0123456789abcdef0123456789abcdef01234567"
FACTS = {"base_model_name_or_path": "embedded", "revision": "tiny-0", "steps": 3, "terms": ["`shapes`"]}


@pytest.fixture
def saved(tmp_path):
    _, adapter = with_experts()
    return save_pretrained(adapter, tmp_path / "mine", FACTS)


@pytest.fixture
def hub(monkeypatch):
    """Records what is asked of it; `error` is raised instead if it is set."""
    record = SimpleNamespace(calls=[], error=None)

    def say(name, result):
        def call(_self, *args, **kwargs):
            record.calls.append((name, args, kwargs))
            if record.error:
                raise record.error
            return result

        return call

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", say("create_repo", "https://hub/" + ID))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", say("upload", SimpleNamespace(oid=COMMIT)))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    return record


@pytest.fixture
def cached(monkeypatch, tmp_path, saved):
    """The local cache of the hub holds the experts; the library itself finds them there, offline."""
    snapshot = tmp_path / f"models--{ID.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(saved, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return snapshot


def http(status: int, kind=errors.HfHubHTTPError):
    asked = httpx.Request("GET", "https://huggingface.co")
    return kind("refused", response=httpx.Response(status, request=asked))


def test_a_push_sends_experts_and_card_and_nothing_else(saved, hub, capsys):
    (saved / "state.safetensors").write_bytes(b"private")
    assert main(["push", str(saved), ID, "--private", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (made, made_args, made_how), (sent, _, sent_how) = hub.calls
    assert (made, made_args, made_how) == ("create_repo", (ID,), {"private": True, "exist_ok": True})
    assert (sent, sent_how["repo_id"], sent_how["folder_path"]) == ("upload", ID, saved)
    assert sent_how["allow_patterns"] == list(FILES)
    assert "secret" not in str(hub.calls)
    assert (told["commit"], told["private"], len(told["sha256"])) == (COMMIT, True, 64)
    assert told["files"] == list(FILES[:3])
    card = (saved / "README.md").read_text()
    assert f"--backbone embedded --experts {ID}\n```" in card
    assert card.startswith("---\nlibrary_name: smola_demo\ntags:")


def test_the_card_names_a_base_of_the_hub(saved, hub):
    config = json.loads((saved / "adapter_config.json").read_text())
    (saved / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "a/b"}))
    push_to_hub(saved, ID)
    assert "\nbase_model: a/b\n" in (saved / "README.md").read_text()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (http(403), "your login may not do that"),
        (http(500), "the hub cannot be reached"),
        (OSError("no network"), "the hub cannot be reached"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(saved, hub, error, says):
    hub.error = error
    with pytest.raises(ExpertsError, match=f"'{ID}' cannot be pushed: .*{says}"):
        push_to_hub(saved, ID)


def test_what_cannot_be_shared_is_said_before_anything_is_sent(saved, hub, monkeypatch, tmp_path):
    with pytest.raises(AdapterError, match="no experts at"):
        push_to_hub(tmp_path / "none", ID)
    with pytest.raises(ExpertsError, match="'mine' is no name for a repository"):
        push_to_hub(saved, "mine")
    config = json.loads((saved / "adapter_config.json").read_text())
    own = json.dumps(config | {"base_model_name_or_path": str(tmp_path)})
    (saved / "adapter_config.json").write_text(own)
    with pytest.raises(ExpertsError, match="which others do not have"):
        push_to_hub(saved, ID)
    (saved / "adapter_config.json").write_text(json.dumps(config))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ExpertsError, match="run: hf auth login"):
        push_to_hub(saved, ID)
    assert hub.calls == []


@pytest.mark.parametrize("given", ["id", "folder"])
def test_there_and_back(saved, cached, monkeypatch, given):
    """The same experts, on a backbone loaded by the name that their config holds."""
    asked = []

    def load(id, precision, device):
        asked.append(id)
        backbone = tiny_backbone()
        backbone.id = id
        return backbone

    monkeypatch.setattr(sharing, "load_backbone", load)
    backbone, adapter, facts = from_pretrained(ID if given == "id" else str(saved))
    _, own = with_experts()
    assert asked == [backbone.id] == ["embedded"]
    assert (facts["steps"], len(facts["sha256"])) == (3, 64)
    for (name, value), (_, expected) in zip(adapter.named_parameters(), own.named_parameters(), strict=True):
        assert torch.equal(value, expected), name
    with pytest.raises(ExpertsError, match="'none' names no trained experts"):
        from_pretrained("none", backbone)


def test_commands_take_an_id_and_say_what_they_got(cached, monkeypatch, capsys):
    def load(*_args, **_kwargs):
        backbone = tiny_backbone()
        backbone.id = "embedded"
        return backbone

    monkeypatch.setattr("smola_demo.engine.load_backbone", load)
    engine = commands.load_engine(SimpleNamespace(backbone="embedded", experts=ID, precision="auto"))
    assert isinstance(engine, Engine)
    info = engine.info()
    assert (info.experts, info.experts_steps, info.experts_state) == (ID, 3, "trained")
    assert f"experts {ID}, commit {COMMIT}, sha256 {info.experts_sha256}" in capsys.readouterr().err


def test_an_installation_with_a_list_takes_no_other_experts(cached, monkeypatch):
    monkeypatch.setenv("SMOLA_BACKBONES", "embedded")
    with pytest.raises(BackboneError, match=f"the experts '{ID}' may not be loaded here: choose none"):
        find_experts(ID)
    monkeypatch.setenv("SMOLA_EXPERTS", f"someone/else, {ID}")
    assert find_experts(ID) == cached


def test_experts_that_the_hub_does_not_give(monkeypatch, tmp_path, cached):
    with pytest.raises(ExpertsError, match=r"no experts 'no/such': .* the hub cannot be reached"):
        find_experts("no/such")
    (cached / "adapter_config.json").unlink()
    with pytest.raises(ExpertsError, match=f"no experts '{ID}': it holds no adapter_config.json"):
        find_experts(ID)

    def refuse(*_args, **_kwargs):
        raise http(404, errors.RepositoryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ExpertsError, match="the hub has none of that name, or it is private"):
        find_experts("no/such")


@pytest.mark.parametrize("name", ["a", "a/b/c", "../a", "a/..", "/a/b", "", "a/b c", "a/\0"])
def test_what_is_no_id_is_not_asked_for(name):
    assert not on_hub(name)
