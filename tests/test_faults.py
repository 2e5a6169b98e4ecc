"""What breaks on the way: one sentence, nothing half-done stays, and the next request works."""

from __future__ import annotations

import contextlib
import errno
import http.server
import resource
import threading
from functools import partial

import pytest
import torch
from asking import Visitor
from assembled import load, logits, use_tiny_parts
from browsing import serving
from fake_engine import FakeEngine
from PIL import Image
from test_download import CONTENT, make_wheel
from tiny_experts import tiny_engine

from smola_demo import engine as engine_module
from smola_demo.backbone import download
from smola_demo.backbone.download import CacheError, cache_dir, part_file
from smola_demo.engine import Engine
from smola_demo.memory import MemoryShortError, start_peak
from smola_demo.results import Answer, Request
from smola_demo.ui.loading import EngineHandle, sentence

GENERATING = "smola-generate"


def request(**values) -> Request:
    image = Image.linear_gradient("L").convert("RGB")
    return Request(image=image, task="vqa", question="What is it?", max_new_tokens=6, **values)


@contextlib.contextmanager
def failing(module, error, after=2):
    """The module's forward pass raises from the given one on."""
    passes = []

    def hook(*_):
        passes.append(1)
        if len(passes) > after:
            raise error

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


CALLS = {
    "answer": lambda engine: engine.answer(request()),
    "compare": lambda engine: engine.compare(request(ablation="visual:1")),
    "sweep": lambda engine: engine.sweep(request()),
}
SHORT = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
)


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


@pytest.fixture(scope="module")
def expected(engine):
    *_, answer = engine.answer(request())
    return answer.tokens


def is_whole(engine, expected) -> bool:
    """Nothing runs, nothing of a call is left, and a request is answered as ever."""
    assert not [thread for thread in threading.enumerate() if thread.name == GENERATING]
    assert engine.adapter.call.step is None
    *_, answer = engine.answer(request())
    return answer.tokens == expected


@pytest.mark.parametrize("after", [0, 2, 4])
@pytest.mark.parametrize("call", CALLS)
def test_a_run_that_breaks_frees_the_engine(engine, expected, call, after):
    with (
        failing(engine.backbone.decoder, ArithmeticError("a bug"), after),
        pytest.raises(ArithmeticError, match="a bug"),
    ):
        list(CALLS[call](engine))
    assert is_whole(engine, expected)


@pytest.mark.parametrize("error", SHORT, ids=["python", "cuda", "cpu"])
@pytest.mark.parametrize("call", CALLS)
def test_too_little_memory_is_one_sentence_and_the_model_keeps_working(engine, expected, call, error):
    with (
        failing(engine.backbone.decoder, error),
        pytest.raises(MemoryShortError, match="not enough memory to answer: try a smaller picture"),
    ):
        list(CALLS[call](engine))
    assert is_whole(engine, expected)


def test_a_picture_too_large_for_memory_is_one_sentence(engine, expected, monkeypatch):
    def short(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.backbone), "encode", short)
        with pytest.raises(MemoryShortError, match="not enough memory to read the picture"):
            next(engine.answer(request()))
    assert is_whole(engine, expected)


@pytest.mark.parametrize("error", SHORT, ids=["python", "cuda", "cpu"])
def test_a_model_too_large_for_memory_leaves_the_one_that_is_there(monkeypatch, error):
    def short(*_, **__):
        raise error

    monkeypatch.setattr(engine_module, "load_backbone", short)
    failed = EngineHandle(lambda _report: Engine.load(experts="none"))
    failed.load()
    said = (
        "there is not enough memory to load embedded: close other programs or choose a smaller --precision."
    )
    assert failed.error == "The model could not be loaded: T" + said[1:]
    handle = EngineHandle.of(FakeEngine(), lambda _info: {"large": partial(Engine.load, experts="none")})
    for _ in range(2):
        with pytest.raises(MemoryShortError) as caught:
            handle.variant("large")
        assert sentence(caught.value) == "T" + said[1:]
    *_, answer = handle.engine.answer(request())
    assert isinstance(answer, Answer)


def test_other_errors_of_torch_are_not_called_a_lack_of_memory(engine):
    with (
        failing(engine.backbone.decoder, RuntimeError("shapes cannot be multiplied")),
        pytest.raises(RuntimeError, match="cannot be multiplied"),
    ):
        list(engine.answer(request()))


# The disk


@contextlib.contextmanager
def full_disk(allowed: int):
    """Every write beyond `allowed` bytes of a file fails in the kernel, whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_a_disk_that_fills_while_weights_are_cached(tmp_path, monkeypatch, precision):
    use_tiny_parts(tmp_path, monkeypatch)
    if precision == "nf4":
        load("fp32")  # only the second checkpoint meets the full disk
    before = sorted(path.name for path in cache_dir().glob("*"))
    with full_disk(60_000), pytest.raises(CacheError, match="could not be filled") as caught:
        load(precision, progress=lambda *_: None)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in cache_dir().glob("*")) == (before or ["lock"])
    found = logits(load(precision))
    assert torch.equal(found, logits(load(precision)))


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A part that is fetched from a server of ours, and an empty cache."""
    index = tmp_path / "index"
    index.mkdir()
    found = make_wheel(index, CONTENT * 20)
    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path / "cache"))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(index), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return found


def test_a_list_of_checks_that_cannot_be_written_costs_a_hash_only(part, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "write_json", full)
    assert part_file(part).read_bytes() == CONTENT * 20
    assert part_file(part).read_bytes() == CONTENT * 20


# The network


@contextlib.contextmanager
def cutting_index(folder, cuts):
    """A package index on the loopback that breaks off the first `cuts` downloads in the middle."""
    left = [cuts]

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if not self.path.endswith(".whl") or not left[0]:
                super().do_GET()
                return
            left[0] -= 1
            data = (folder / self.path.rsplit("/", 1)[-1]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", left
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_network_that_is_cut_during_the_first_download(part, tmp_path, monkeypatch):
    """One sentence and an empty cache; the next start fetches it all."""
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
    with cutting_index(tmp_path / "index", cuts=1) as (address, left):
        monkeypatch.setenv("PIP_FIND_LINKS", address)
        with pytest.raises(CacheError, match="check the network and try again") as caught:
            part_file(part)
        assert left == [0]
        assert "\n" not in str(caught.value)
        assert [path.name for path in cache_dir().iterdir()] == ["lock"]
        assert part_file(part).read_bytes() == CONTENT * 20


# The visitor


@pytest.mark.filterwarnings("default")  # the server runs in this process
@pytest.mark.parametrize("name", ["ask_1", "ablate", "rank"])
def test_a_visitor_who_goes_away_in_the_middle_frees_the_model(tmp_path, monkeypatch, name):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    slow = FakeEngine(layers=2, token_s=1.0, sweep_s=1.0)
    picture = {"path": str(tmp_path / "a.png"), "meta": {"_type": "gradio.FileData"}}
    Image.new("RGB", (8, 8)).save(picture["path"])
    more = {"ask_1": (), "ablate": ("visual:1",), "rank": ("expert", None)}[name]
    begin = {"ask_1": "begin", "ablate": "begin_1", "rank": "begin_2"}[name]
    with serving(EngineHandle.of(slow), tmp_path / "assets") as address:
        gone, other = Visitor(address, "gone"), Visitor(address, "other")
        gone.join(name, picture, "caption", "", *more, gone.announce(begin))
        with gone.http.stream("GET", "gradio_api/queue/data", params={"session_hash": "gone"}) as lines:
            assert slow.started.wait(20)
            next(lines.iter_raw())
        gone.http.close()
        assert slow.idle.wait(20)
        assert slow.closed_early == 1
        slow.token_s = slow.sweep_s = 0.0
        outputs = other.call("ask_1", picture, "caption", "", other.announce())
        assert '"state":"done"' in outputs[0].replace(" ", "")
        other.http.close()
    assert slow.most_running == 1


def test_a_peak_is_of_what_follows(monkeypatch):
    """No GPU here: that the counter is started anew, and where, is what can be shown."""
    started = []
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", started.append)
    start_peak(torch.device("cpu"))
    assert started == []
    start_peak(torch.device("cuda:1"))
    assert started == [torch.device("cuda:1")]
