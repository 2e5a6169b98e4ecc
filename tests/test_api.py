"""The endpoints for programs: what they say, how they refuse, and that two callers never see each other's."""

from __future__ import annotations

import json
import typing
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from browsing import free_port
from fake_engine import FakeEngine
from gradio_client import Client, exceptions, handle_file
from PIL import Image

from smola_demo import ui
from smola_demo.reports import answer_report, routing_report
from smola_demo.results import Answer, Request
from smola_demo.tasks import TASKS
from smola_demo.ui import api
from smola_demo.ui.loading import EngineHandle

pytestmark = pytest.mark.filterwarnings("default")  # the server runs in this process
PATIENT = {"timeout": 60}  # seconds; httpx waits five, which a busy machine may take


@pytest.fixture(scope="module")
def engine():
    return FakeEngine(layers=4)


@pytest.fixture(scope="module")
def address(engine, tmp_path_factory):
    page = ui.build(EngineHandle.of(engine), assets=tmp_path_factory.mktemp("root") / "assets")
    kwargs = ui.launch_kwargs()
    page.launch(
        server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True, **kwargs
    )
    yield page.local_url
    page.close()


@pytest.fixture
def client(address, tmp_path):
    found = Client(address, verbose=False, download_files=str(tmp_path), httpx_kwargs=PATIENT)
    yield found
    found.close()


def picture(folder, colour):
    path = folder / f"{colour}.png"
    Image.new("RGB", (24, 18), colour).save(path)
    return path


def expected(path, task, question=None, ablation="", engine=None):
    with Image.open(path) as image:
        *_, answer = (engine or FakeEngine(layers=4)).answer(Request(image.copy(), task, question, ablation))
    assert isinstance(answer, Answer)
    return answer


def test_only_the_three_endpoints_are_public_and_they_are_described(client):
    found = client.view_api(return_format="dict", print_info=False)
    assert set(found["named_endpoints"]) == {"/ask", "/sweep", "/info"}
    assert found["unnamed_endpoints"] == {}
    ask = {p["parameter_name"]: p for p in found["named_endpoints"]["/ask"]["parameters"]}
    assert list(ask) == ["image", "task", "question", "ablation", "max_new_tokens"]
    assert ask["task"]["type"]["enum"] == list(TASKS)
    assert not ask["image"]["parameter_has_default"]
    assert all(p["parameter_has_default"] for name, p in ask.items() if name != "image")


def test_the_tasks_of_the_signature_are_the_tasks():
    assert list(typing.get_args(api.Task)) == list(TASKS)


def test_ask_says_what_the_engine_said(client, tmp_path):
    path = picture(tmp_path, "teal")
    found = client.predict(handle_file(path), "vqa", "What is it?", "visual:3@1-2", api_name="/ask")
    answer = expected(path, "vqa", "What is it?", "visual:3@1-2")
    assert found["answer"] == answer.text
    assert [t["text"] for t in found["tokens"]] == [t.text for t in answer.tokens]
    assert found["ablation"] == {"spec": "visual:3@1-2", "modules_touched": 6}
    assert set(found["routing"]["prompt"]) == {"visual", "text", "multimodal"}
    assert set(found["routing"]["answer"]) == {"text", "multimodal"}
    trace = answer.trace
    text_prompt = (trace.modality == 0) & (trace.phase == 0)
    assert found["routing"]["prompt"]["text"]["mean_weight"] == pytest.approx(
        trace.weight[1][:, :, text_prompt].mean((0, 1, 2)).tolist(), abs=1e-6
    )
    assert set(found["timing"]) == {"load_s", "prefill_s", "decode_s", "tokens_per_s"}


def test_length_and_defaults(client, tmp_path):
    path = picture(tmp_path, "navy")
    short = client.predict(handle_file(path), max_new_tokens=2, api_name="/ask")
    assert (short["task"], len(short["tokens"]), short["stopped"]) == ("caption", 2, "length")


def test_sweep_ranks_every_expert(client, tmp_path):
    found = client.predict(handle_file(picture(tmp_path, "gold")), api_name="/sweep")
    assert len(found["experts"]) == 24
    assert {"group", "expert", "delta_logprob", "js", "weight", "contribution"} <= set(found["experts"][0])
    assert found["baseline"]["answer"]


def test_info_says_what_is_loaded(client):
    found = client.predict(api_name="/info")
    assert found["layers"] == [0, 1, 2, 3]
    assert found["experts"] == "embedded-omni"
    assert [t["name"] for t in found["tasks"]] == list(TASKS)
    json.dumps(found)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"task": "paint"}, "There is no task 'paint'"),
        ({"task": "vqa"}, "needs a question"),
        ({"ablation": "audio:1"}, "No expert group 'audio'"),
        ({"ablation": "visual"}, "Cannot read 'visual'"),
        ({"max_new_tokens": 9999}, "from 0 to 512"),
        ({"question": "x" * 501, "task": "vqa"}, "501 characters"),
    ],
)
def test_bad_input_is_one_sentence(client, tmp_path, capsys, named, said):
    with pytest.raises(exceptions.AppError, match=said) as refused:
        client.predict(handle_file(picture(tmp_path, "teal")), api_name="/ask", **named)
    assert "Traceback" not in str(refused.value)
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_no_picture_is_refused(client, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(exceptions.AppError, match=r"picture|image"):
        client.predict(handle_file(text), api_name="/ask")


def test_a_path_on_the_server_cannot_be_named(client, tmp_path):
    """Only files that came in through an upload are opened, whatever the dict says."""
    secret = picture(tmp_path, "red")
    for sent in ({"path": str(secret)}, {"path": str(secret), "meta": {}}, str(secret), None, 7):
        with pytest.raises(exceptions.AppError, match="Send a picture as a file"):
            client.predict(sent, api_name="/ask")


def test_a_marked_path_that_was_not_uploaded_is_refused(address, tmp_path):
    """The Python client uploads whatever is marked as a file; someone else may not."""
    uploaded = {"path": str(picture(tmp_path, "red")), "meta": {"_type": "gradio.FileData"}}
    call = address + "gradio_api/call/ask"
    for stream in (False, True):
        data = [uploaded | {"is_stream": stream}, "caption", "", "", 0]
        event = httpx.post(call, json={"data": data}, **PATIENT).json()["event_id"]
        said = httpx.get(f"{call}/{event}", **PATIENT).text
        assert "event: error" in said
        assert '"answer"' not in said


def test_a_bug_shows_no_details(address, tmp_path, engine, monkeypatch, capsys):
    monkeypatch.setattr(engine, "fail", True)
    client = Client(address, verbose=False, httpx_kwargs=PATIENT)
    with pytest.raises(exceptions.AppError, match="Something went wrong on the server"):
        client.predict(handle_file(picture(tmp_path, "teal")), api_name="/ask")
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_while_the_model_loads_the_client_is_told(tmp_path):
    handle = EngineHandle(lambda _report: FakeEngine())
    with pytest.raises(Exception, match="still loading"):
        api.Api(handle).info()


def test_many_at_once_get_their_own_answers_one_after_the_other(address, engine, tmp_path):
    """Every caller has a picture and an ablation of its own; the model runs one at a time."""
    engine.token_s, engine.most_running = 0.01, 0
    asked = [
        (picture(tmp_path, colour), spec)
        for colour, spec in (("red", ""), ("blue", "visual:3"), ("red", "text:*"), ("lime", "visual:3"))
    ]

    def call(given):
        path, spec = given
        client = Client(address, verbose=False, httpx_kwargs=PATIENT)
        return client.predict(handle_file(path), ablation=spec, api_name="/ask")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, asked))
    engine.token_s = 0.0
    for (path, spec), report in zip(asked, found, strict=True):
        answer = expected(path, "caption", None, spec)
        assert report["answer"] == answer.text
        assert report["logprob"] == pytest.approx(answer.logprob)
        assert report["ablation"]["spec"] == spec
    assert len({json.dumps(report["tokens"]) for report in found}) == 4
    assert engine.most_running == 1


def test_reports_of_an_answer_without_routing():
    image = Image.new("RGB", (8, 8))
    *_, answer = FakeEngine(groups=(), state="none").answer(Request(image, "caption"))
    assert answer_report(answer, routing=True)["routing"] == {}
    assert "routing" not in answer_report(answer)


def test_routing_report_is_uniform_for_uniform_weights():
    *_, answer = FakeEngine(layers=2, experts=4).answer(Request(Image.new("RGB", (8, 8)), "caption"))
    trace = answer.trace
    object.__setattr__(trace, "weight", np.where(trace.weight > 0, 0.25, 0).astype(np.float32))
    for group in routing_report(trace)["answer"].values():
        assert group["mean_weight"] == pytest.approx([0.25] * 4)
        assert group["entropy"] == pytest.approx(group["uniform_entropy"]) == pytest.approx(np.log(4))
