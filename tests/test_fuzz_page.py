"""What a program or a link may send: an answer or one sentence, and the page answers afterwards."""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path

import pytest
from asking import Visitor
from browsing import serving
from fake_engine import FakeEngine
from fuzzing import CASES, ODD, one_sentence
from gradio_client import Client, exceptions, handle_file
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smola_demo.ablation_spec import AblationError, AblationSpec
from smola_demo.config import GROUPS
from smola_demo.tasks import TASKS, TaskError, check_question
from smola_demo.ui.examples import Example
from smola_demo.ui.links import NAMES, read_link
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.share import is_recorded

pytestmark = pytest.mark.filterwarnings("default")  # the server runs in this process

FEW = max(40, CASES // 50)  # of cases that travel over HTTP


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def address(uploads, tmp_path_factory):
    with serving(EngineHandle.of(FakeEngine(layers=2)), tmp_path_factory.mktemp("root") / "assets") as found:
        yield found


@pytest.fixture(scope="module")
def client(address):
    found = Client(address, verbose=False, httpx_kwargs={"timeout": 60})
    yield found
    found.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.new("RGB", (24, 18), "teal").save(path)
    return path


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), "lime").save(buffer, "PNG")
    return buffer.getvalue()


def sent(client, name, *data) -> tuple[dict | None, str]:
    """(result, "") of a call, or (None, the sentence it was refused with)."""
    try:
        return client.predict(*data, api_name=name), ""
    except exceptions.AppError as error:
        return None, str(error)


def is_json(value) -> bool:
    """Whether the Python client can send a value; its JSON has no NaN and no half of a character."""
    return "\ud800" not in str(value) and type(value) is not float and value != 10**400


GOOD = ("caption", "", "", 2)
LONG = ("x" * 100_000, "visual:0-9999;" * 10_000, "<img src=x onerror=alert(1)>", "visual:1" * 9)


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_no_field_of_an_endpoint_breaks_it(client, picture, place, capsys):
    for odd in (*(one for one in ODD if is_json(one)), *LONG):
        data = [*GOOD[:place], odd, *GOOD[place + 1 :]]
        found, said = sent(client, "/ask", handle_file(picture), *data)
        assert found is not None or one_sentence(said), (odd, said)
        assert "log says what" not in said, repr(odd)
    assert "Traceback" not in capsys.readouterr().err
    assert sent(client, "/ask", handle_file(picture), *GOOD)[0]["answer"]


@pytest.mark.parametrize("place", [3, 4])
def test_no_field_of_a_sweep_breaks_it(client, picture, place, capsys):
    good = ["caption", "", "expert", "", 2]
    for odd in ("", "x", None, 7, [1], {"a": 1}, True, "visual:1@@", "visual:1;text:2", "x" * 10_000):
        data = [*good[: place - 1], odd, *good[place:]]
        found, said = sent(client, "/sweep", handle_file(picture), *data)
        assert found is not None or one_sentence(said), (odd, said)
        assert "log says what" not in said, repr(odd)
    assert "Traceback" not in capsys.readouterr().err


def test_forged_calls_of_the_page_leave_it_whole(address, client, picture):
    """Any handler by its number, with anything as its inputs: the next visitor is served."""
    rng = random.Random(0)
    visitor = Visitor(address, "forger")
    odd = [one for one in ODD if is_json(one)]
    ours = [name for name in visitor.numbers if not name.startswith("js_fn")]
    for _ in range(FEW):
        data = [rng.choice(odd) for _ in range(rng.choice((0, 1, 3, 5, 15)))]
        assert visitor.at_once(rng.choice(ours), *data).status_code < 600
        joined = visitor.join(rng.choice(ours), *data)
        if joined.status_code == 200:
            assert not any("Traceback" in str(event) for event in visitor.events())
    visitor.http.close()
    assert sent(client, "/ask", handle_file(picture), *GOOD)[0]["answer"]


@pytest.mark.parametrize("text", ["\ud800", "\udfff x", "\0", "\u2028"])
def test_half_characters_and_separators_are_asked_about(address, text):
    """JSON can spell what no Python client sends."""
    visitor = Visitor(address)
    (path,) = visitor.upload("a.png", png()).json()
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for data in ([image, "ask", f"What {text}?", "", 2], [image, "caption", "", f"visual:{text}", 2]):
        call = visitor.http.post(
            "gradio_api/call/ask",
            content=json.dumps({"data": data}),
            headers={"content-type": "application/json"},
        )
        told = visitor.http.get(f"gradio_api/call/ask/{call.json()['event_id']}").text
        assert "log says what" not in told
        assert "event: complete" in told or "Cannot read" in told
    visitor.http.close()


@pytest.mark.parametrize("body", [b"", b"[", b"null", b"[]", b'{"data": 7}', b"[" * 100_000, b"\xff", b"{}"])
def test_no_body_breaks_the_endpoint(address, client, picture, body):
    visitor = Visitor(address)
    for path in ("gradio_api/call/ask", "gradio_api/queue/join", "gradio_api/run/info", "gradio_api/upload"):
        told = visitor.http.post(path, content=body, headers={"content-type": "application/json"})
        assert "Traceback" not in told.text
    visitor.http.close()
    assert client.predict(api_name="/info")["experts"]


# Links and texts

EXAMPLES = [Example(Path("cat.png"), "vqa", "What?", "Cat", "")]
TEXTS = st.text(max_size=60) | st.sampled_from(["cat", "../cat", "vqa", "visual:3", "12", "x" * 3000])


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), TEXTS))
def test_any_link_is_read_and_only_what_exists_is_taken(query):
    link = read_link(query, EXAMPLES)
    assert link.example in (None, 0)
    assert link.task is None or link.task in TASKS
    assert set(link.ignored) <= set(NAMES)
    assert not link.ablation or AblationSpec.parse(link.ablation)
    assert "\n" not in link.said


@given(st.text(st.characters()))
def test_any_question_is_one_line_of_whole_characters_or_refused(text):
    try:
        asked = check_question("ask", text)
    except TaskError:
        return
    assert "\n" not in asked
    assert asked.encode("utf-8")


PIECES = [*GROUPS, "*", ":", "@", "/", "!", ";", ",", "-", "0", "9999", "mlp", " ", "mean", "\n", "x"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_pieces_of_the_grammar_are_a_spec_or_refused(text):
    try:
        spec = AblationSpec.parse(text)
    except AblationError as error:
        spec, said = None, str(error)
    assert one_sentence(said) if spec is None else AblationSpec.parse(str(spec)) == spec


def test_no_text_of_an_ablation_costs_much():
    text = ";".join(["*:0-9999@0-9999"] * 1000)
    with pytest.raises(AblationError, match="write at most 2000"):
        AblationSpec.parse(text)
    start = time.thread_time()
    terms = AblationSpec.parse(text[:1998]).terms
    assert time.thread_time() - start < 5
    assert sum(len(term.experts) + len(term.layers) for term in terms) < 3_000_000


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", "\0", "[1]", None])
def test_a_forged_answer_is_no_recorded_run(text):
    assert not is_recorded(text)
