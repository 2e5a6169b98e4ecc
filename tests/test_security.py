"""What a visitor cannot do: read the server's files, another visitor's pictures, or fill its memory."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import httpx
import pytest
from asking import Visitor
from browsing import serving
from fake_engine import FakeEngine
from PIL import Image

from smola_demo.experts import ExpertsError, find_experts
from smola_demo.ui.examples import read_examples
from smola_demo.ui.limits import MAX_BODY_BYTES, NO_FETCHING, TOO_LARGE
from smola_demo.ui.loading import EngineHandle

pytestmark = pytest.mark.filterwarnings("default")  # the server runs in this process

ROOT = Path(__file__).resolve().parent.parent
MARK = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """The folder into which Gradio puts uploads, for the length of this module."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root") / "assets"
    folder.mkdir()
    Image.new("RGB", (20, 20), "teal").save(folder / "cat.png")
    (folder / "examples.json").write_text('[{"image": "cat.png", "task": "caption", "title": "Cat"}]')
    return folder


@pytest.fixture(scope="module")
def address(uploads, assets):
    with serving(EngineHandle.of(FakeEngine(layers=2)), assets) as found:
        yield found


@pytest.fixture
def visitor(address, request):
    found = Visitor(address, request.node.name)
    yield found
    found.http.close()


@pytest.fixture
def secret(tmp_path):
    """A picture on the server that was not uploaded."""
    path = tmp_path / "secret.png"
    Image.new("RGB", (20, 20), "red").save(path)
    return path


def png(colour="lime") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), colour).save(buffer, "PNG")
    return buffer.getvalue()


def refused(outputs) -> bool:
    """Whether a picture was taken out again, or the call never began."""
    return outputs is None or outputs[0] is None


def test_a_picture_on_the_server_cannot_be_named(visitor, secret, uploads):
    beside = str(uploads / ".." / secret.parent.name / secret.name)
    for path in (str(secret), beside, secret.as_uri(), "\0", "x" * 5000):
        for mark in ({}, MARK, MARK | {"is_stream": True}):
            assert refused(visitor.call("check_picture", {"path": path, **mark})), path
    for other in (str(secret), [str(secret)], 7, {"path": [str(secret)]}, {"url": secret.as_uri()}):
        assert refused(visitor.call("check_picture", other)), other


def test_nobody_learns_which_files_exist(visitor, secret):
    there, absent = (
        visitor.call("check_picture", {"path": str(path)}) for path in (secret, secret.with_name("no.png"))
    )
    assert there == absent
    assert str(secret.parent) not in str(there)


def test_no_run_answers_about_a_picture_on_the_server(visitor, secret):
    for name, more in (("ask_1", ()), ("ablate", ("visual:1",)), ("rank", ("expert", None))):
        outputs = visitor.call(name, {"path": str(secret)}, "caption", "", *more, visitor.announce())
        assert "did not arrive" in str(outputs), name
        assert '"done"' not in str(outputs)


def test_what_was_uploaded_and_the_examples_are_opened(visitor, assets):
    (path,) = visitor.upload("mine.png", png()).json()
    assert not refused(visitor.call("check_picture", {"path": path, **MARK}))
    shown = visitor.call("check_picture", {"path": str(assets / "cat.png"), **MARK})
    assert not refused(shown)


def test_a_run_file_on_the_server_cannot_be_opened(visitor, tmp_path):
    path = tmp_path / "run.json"
    path.write_text("{}")
    for sent in ({"path": str(path)}, {"path": str(path), **MARK}, str(path), [{"path": str(path), **MARK}]):
        assert visitor.call("reopen", sent) is None


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file={secret}",
        "gradio_api/file=%2f{secret}",
        "gradio_api/file={uploads}",
        "gradio_api/file={uploads}/..",
        "gradio_api/file={assets}/../secret.png",
        "gradio_api/file=file://{secret}",
        "gradio_api/file=http://127.0.0.1:1/",
        "gradio_api/proxy=http://127.0.0.1:1/",
        "static/%2e%2e/%2e%2e/%2e%2e{secret}",
        "assets/%2e%2e/%2e%2e/%2e%2e{secret}",
        "monitoring",
        "monitoring/summary",
        "gradio_api/runs",
        "gradio_api/vibe-code",
    ],
)
def test_no_address_leads_to_a_file_or_to_figures_on_others(visitor, secret, uploads, assets, path):
    (assets.parent / "secret.png").write_bytes(secret.read_bytes())
    (assets.parent / "README.md").unlink(missing_ok=True)
    told = visitor.http.get(path.format(secret=secret, uploads=uploads, assets=assets))
    assert 400 <= told.status_code < 500, told.text[:200]
    assert secret.read_bytes() not in told.content


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=https://example.com/a.png",
        "gradio_api/file=HTTP://example.com/a.png",
        "gradio_api/file=https%3A%2F%2Fexample.com%2Fa.png",
        "file=https://example.com/a.png",
        "gradio_api/file/http://example.com/a.png",
    ],
)
def test_the_page_fetches_nothing_from_other_hosts(visitor, path):
    told = visitor.http.get(path)
    assert (told.status_code, told.text) == (403, NO_FETCHING)
    assert visitor.http.head(path).status_code == 403


def test_an_upload_has_an_address_that_cannot_be_guessed_and_no_list_names_it(visitor, address, uploads):
    """Its folder is a digest of 256 bits; no address lists folders, and no configuration holds it."""
    (path,) = visitor.upload("../../holiday <b>.png", png("navy")).json()
    inside = Path(path).relative_to(uploads)
    assert re.fullmatch(r"[0-9a-f]{64}", inside.parts[0])
    assert len(inside.parts) == 2
    assert not set("<>/\\") & set(inside.name)
    visitor.call("check_picture", {"path": path, **MARK})
    with httpx.Client(base_url=address, timeout=60) as other:
        assert all(inside.parts[0] not in other.get(place).text for place in ("config", ""))
        folders = [other.get(f"gradio_api/file={folder}") for folder in (uploads, Path(path).parent)]
        assert [told.status_code for told in folders] == [403, 403]


def test_a_file_is_bounded_and_so_is_any_request(visitor, uploads):
    before = {path for path in uploads.rglob("*") if path.is_file()}
    large = visitor.upload("large.png", bytes(10 * 2**20 + 1))
    assert large.status_code == 413
    several = visitor.http.post(
        "gradio_api/upload", files=[("files", (f"{i}.png", bytes(9_000_000))) for i in range(2)]
    )
    assert (several.status_code, several.text) == (413, TOO_LARGE)
    told = visitor.join("choose_task", "x" * MAX_BODY_BYTES)
    assert (told.status_code, told.text) == (413, TOO_LARGE)
    assert {path for path in uploads.rglob("*") if path.is_file()} == before


def test_a_body_that_does_not_say_its_length_is_counted(visitor):
    pieces = (b"[" * 1_000_000 for _ in range(40))
    told = visitor.http.post(
        "gradio_api/queue/join", content=pieces, headers={"content-type": "application/json"}
    )
    assert told.status_code == 413
    assert visitor.call("choose_task", "vqa") is not None


def test_examples_stay_in_their_folder(tmp_path):
    folder = tmp_path / "assets"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    names = ["../outside.png", "link.png", str(tmp_path / "outside.png"), "a/../../outside.png"]
    entries = ",".join(f'{{"image": "{name}", "task": "caption"}}' for name in names)
    (folder / "examples.json").write_text(f"[{entries}]")
    assert read_examples(folder) == []


@pytest.mark.parametrize(
    "name", ["../../etc", "../checkpoints/..", "/etc", "embedded-omni/..", "..", "\0", ""]
)
def test_experts_are_a_known_name_or_a_folder_of_experts(name):
    with pytest.raises(ExpertsError, match="there are embedded-omni"):
        find_experts(name)


def test_no_endpoint_takes_a_checkpoint_or_a_file_to_write(visitor):
    """Experts, traces and outputs are named on the command line; a visitor has no word for them."""
    api = httpx.get(visitor.http.base_url.join("gradio_api/info"), timeout=60).json()["named_endpoints"]
    named = {one["parameter_name"] for endpoint in api.values() for one in endpoint["parameters"]}
    assert named == {"image", "task", "question", "ablation", "by", "expert", "max_new_tokens"}


# What the sources do not contain

CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
SINKS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:"


@pytest.mark.parametrize(
    "path", [*(ROOT / "smola_demo").rglob("*.py"), ROOT / "app.py"], ids=lambda p: p.stem
)
def test_nothing_runs_or_unpickles_what_it_reads(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {node.module} if isinstance(node, ast.ImportFrom) else {a.name for a in node.names}
            assert not {str(name).split(".")[0] for name in names} & MODULES
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in CALLS
            assert given.get("shell", "False") == "False"
            assert given.get("trust_remote_code", "False") == "False"
            assert given.get("allow_pickle", "False") == "False"
            if called == "torch.load":
                assert given.get("weights_only") == "True"
            if called == "np.load":
                assert given.get("allow_pickle") == "False"


@pytest.mark.parametrize("path", [*(ROOT / "smola_demo" / "ui" / "static").iterdir()], ids=lambda p: p.name)
def test_no_script_writes_markup_and_no_template_holds_a_value(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(SINKS, text)
    if path.suffix == ".html":
        assert not re.search(r"\$\{|\{\{|<script|\son\w+=", text)


def test_only_fixed_text_is_given_to_the_page_as_markup():
    """gr.HTML and gr.Markdown: the head and foot of the page, and the views, whose values are encoded."""
    made = {
        (path.name, ast.unparse(node.args[0]))
        for path in (ROOT / "smola_demo" / "ui").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("gr.HTML", "gr.Markdown")
        if not isinstance(node.args[0], ast.Constant)
    }
    assert made == {("page.py", "HEADER"), ("page.py", "footer(root)"), ("view.py", "encode(value)")}


def test_every_test_that_the_promises_name_is_there():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 20
    for file, test in named:
        assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"
