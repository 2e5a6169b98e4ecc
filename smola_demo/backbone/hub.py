"""Where a model's files are: a local folder, or an id of the model hub at one commit.

Reads the config, the licence and a fingerprint; loads no weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smola_demo.backbone import EMBEDDED, BackboneError

ALLOWED = "SMOLA_BACKBONES"  # ids that may be loaded, separated by commas; unset: any
ALLOWED_EXPERTS = "SMOLA_EXPERTS"  # experts of the hub that go with them


@dataclass(frozen=True)
class Source:
    """A model that was found.

    id      as the user gave it · config  what config.json says · folder  of that file
    commit  of the hub's repository; empty for a local folder
    """

    id: str
    config: dict[str, Any]
    folder: Path
    commit: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """For every from_pretrained(id, ...): the one commit, and no code from the repository."""
        place = {"revision": self.commit} if self.commit else {"local_files_only": True}
        return {**place, "trust_remote_code": False}


def allowed_ids() -> tuple[str, ...]:
    """The only ids that this installation is set up to load; empty where it is any."""
    return _listed(ALLOWED)


def offered_experts() -> tuple[str, ...]:
    """Experts of the hub that this installation offers."""
    return _listed(ALLOWED_EXPERTS)


def _listed(variable: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in os.environ.get(variable, "").split(",") if name.strip())


def check_allowed(id: str) -> None:
    """Raise BackboneError for a backbone that this installation is not set up to load."""
    _check(id, "backbone", allowed_ids())


def check_allowed_experts(id: str) -> None:
    """Raise BackboneError for experts of the hub that this installation is not set up to load."""
    if allowed_ids():
        _check(id, "experts", offered_experts() or ("none",))


def _check(id: str, what: str, allowed: tuple[str, ...]) -> None:
    if allowed and id not in allowed:
        raise BackboneError(f"the {what} '{id}' may not be loaded here: choose {', '.join(allowed)}")


def find(id: str) -> Source:
    """The model of a folder or hub id. Raises BackboneError where there is none or it cannot be reached."""
    if id and Path(id).is_dir():
        return Source(id, _read(Path(id) / "config.json", id), Path(id))
    if id.count("/") != 1 or id.startswith((".", "/", "~")):
        raise BackboneError(
            f"no backbone '{id}': there is '{EMBEDDED}', or give a model hub's OWNER/NAME or a folder"
        )
    path = _fetch(id, "config.json")
    return Source(id, _read(path, id), path.parent, commit=path.parent.name)


def _read(path: Path, id: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackboneError(f"no model in '{id}': config.json is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BackboneError(f"config.json of '{id}' is not valid JSON ({error}): fetch it again") from None
    return config if isinstance(config, dict) else {}


def _fetch(id: str, name: str, commit: str | None = None) -> Path:
    """A file of a hub repository, from the local cache where it is there and the hub cannot be asked."""
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(id, name, revision=commit))
    except (errors.HFValidationError, OSError) as error:
        raise BackboneError(f"no backbone '{id}': {why_not(error, id, name)}") from None


def why_not(error: Exception, id: str, name: str) -> str:
    """What an error of the hub means for the repository `id` and its file `name`, and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return "that is no name of a model: give OWNER/NAME"
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated: accept its terms at https://huggingface.co/{id}, then run: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has none of that name, or it is private: check the name, or run: hf auth login"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"it holds no {name}: choose a model in the transformers format"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "your login may not do that: check the owner, or run: hf auth login"
    # No network, switched off, or the hub is out of order.
    return "it is not in the local cache and the hub cannot be reached: connect once, or give a folder"


def revision(source: Source) -> str:
    """What tells these weights from others: the hub's commit, or a hash over a folder's config and weights.

    Of weight files their header (names, types, shapes) and size count: reading all of one takes minutes.
    """
    if source.commit:
        return source.commit
    digest = hashlib.sha256((source.folder / "config.json").read_bytes())
    for path in sorted(source.folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = file.read(8)
            digest.update(length + file.read(int.from_bytes(length, "little")))
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def licence(source: Source, otherwise: str) -> str:
    """What the model's own card names; `otherwise` where there is none, or none that can be read."""
    import yaml
    from huggingface_hub.repocard import metadata_load

    try:
        card = source.folder / "README.md"
        if source.commit and not card.is_file():
            card = _fetch(source.id, "README.md", source.commit)
        named = metadata_load(card) or {}
    except (BackboneError, OSError, ValueError, RecursionError, yaml.YAMLError):
        return otherwise
    # A licence of its own is called "other" and has its name beside it.
    return str(named.get("license_name") or named.get("license") or otherwise)
