"""What the README says is so: its files, its commands, its versions, its promises about the repository."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from smola_demo.__main__ import build_parser
from smola_demo.adapter_files import WEIGHTS_NAME
from smola_demo.documents import fill
from smola_demo.experts import checkpoint_names
from smola_demo.model_card import LOG_NAME, write_card

ROOT = Path(__file__).resolve().parents[1]
SPEAKING = (".py", ".md", ".json", ".toml", ".txt", ".js", ".css", ".html", "")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files of the project; where there is no git, files of the tree."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here: the list of the project's files is not to be had")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_file_tree_is_the_tree():
    """Every path of the tree exists, and no module or top folder is missing from it."""
    tree = re.search(r"## The files\n\n```\n(.*?)```", README, re.DOTALL)[1]
    named = set()
    for line in tree.splitlines():
        name = line.split()[0]
        named.add(f"smola_demo/{name}" if line.startswith("  ") else name)
    for name in named:
        assert (ROOT / name).exists(), f"README names {name}, which is not there"
    here = {path.relative_to(ROOT) for path in tracked()}
    modules = {p.as_posix() for p in here if p.parent.as_posix() == "smola_demo" and p.suffix == ".py"}
    packages = {f"smola_demo/{p.parts[1]}/" for p in here if p.parts[0] == "smola_demo" and len(p.parts) > 2}
    missing = (modules | packages) - named - {"smola_demo/__init__.py"}
    assert not missing, f"the README's tree lacks {sorted(missing)}"


@pytest.mark.parametrize("command", [c for c in commands() if "-m smola_demo" in c])
def test_commands_of_the_readme_parse(command):
    for part in command.split("&&"):
        words = shlex.split(part)
        options = build_parser().parse_args(words[words.index("smola_demo") + 1 :])
        for name in ("image", "config"):
            path = getattr(options, name, None)
            assert path is None or (ROOT / path).is_file(), f"{command}: {path} is not there"


def test_the_two_commands_do_all_the_set_up():
    app, tests = (next(c for c in commands() if word in c) for word in ("app.py", "tests/run"))
    assert "requirements.txt" in app
    assert "venv" in app
    assert tests == "bash tests/run"
    assert "requirements-dev.txt" in (ROOT / "tests" / "venv").read_text()


def test_versions_agree():
    pinned = (ROOT / "requirements.txt").read_text()
    front = README.split("---")[1]
    assert re.search(r"sdk_version: (\S+)", front)[1] == re.search(r"gradio==(\S+)", pinned)[1]
    assert re.search(r"torch(\S+)", pinned)[1] == ">=2.11,<2.14"


def test_the_repository_stays_small_and_speaks_of_itself():
    files = tracked()
    assert sum(path.stat().st_size for path in files) < 40e6
    for path in files:
        if path.suffix in SPEAKING and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            for word in ("/work/", "/opt/", "helper-", "issue #"):
                assert word not in text, f"{path.relative_to(ROOT)} mentions {word}"


def test_marked_tables_are_what_their_files_say():
    for path in tracked():
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            command = f"python -m smola_demo table --fill {path.relative_to(ROOT)}"
            assert fill(text, path.parent) == text, f"a table is out of date: {command}"


@pytest.mark.parametrize("name", checkpoint_names())
def test_what_lies_beside_shipped_experts_is_of_their_weights(name, tmp_path):
    folder = ROOT / "checkpoints" / name
    sha256 = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    metrics, atlas = (
        json.loads((folder / f).read_text(encoding="utf-8")) for f in ("metrics.json", "atlas.json")
    )
    assert metrics["sha256"] == atlas["made"]["sha256"] == sha256
    for file in (WEIGHTS_NAME, "adapter_config.json", "metrics.json", "scores.json", LOG_NAME):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).symlink_to(folder / file)
    card = write_card(tmp_path / name).read_text(encoding="utf-8")
    assert card == (folder / "README.md").read_text(encoding="utf-8")


def test_files_stay_short():
    for path in tracked():
        if path.suffix == ".py" and path.is_relative_to(ROOT / "smola_demo"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 330, f"{path.relative_to(ROOT)} has {lines} lines: split it by reason to change"
