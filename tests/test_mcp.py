"""The endpoints as tools of an MCP server, called with the protocol's own client."""

from __future__ import annotations

import ast
import asyncio
import base64
import importlib.util
import io

import pytest
from browsing import free_port
from fake_engine import FakeEngine
from PIL import Image

from smola_demo import ui
from smola_demo.results import Request
from smola_demo.ui.loading import EngineHandle

pytestmark = pytest.mark.filterwarnings("default")  # the server runs in this process


def test_without_the_package_the_app_says_what_to_install(monkeypatch, capsys):
    import app

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else found(name))
    assert app.main(["--mcp"]) == 1
    assert "gradio[mcp]" in capsys.readouterr().err


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("mcp", reason="gradio[mcp] is not installed")
    page = ui.build(EngineHandle.of(FakeEngine(layers=4)), assets=tmp_path_factory.mktemp("root") / "assets")
    port, kwargs = free_port(), ui.launch_kwargs()
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        mcp_server=True,
        **kwargs,
    )
    yield f"http://127.0.0.1:{port}/gradio_api/mcp/"
    page.close()


def with_session(address, use):
    """Run `use(session)` with a connected client."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def run():
        async with (
            streamablehttp_client(address) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    return asyncio.run(run())


def call(address, tool, **given):
    return with_session(address, lambda session: session.call_tool(tool, given))


def data_url(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def said(result):
    return "\n".join(part.text for part in result.content)


def value(result):
    """Gradio writes a tool's result as Python does, not as JSON."""
    assert not result.isError, said(result)
    return ast.literal_eval(said(result))


def test_the_tools_are_the_endpoints_and_nothing_of_the_page(address):
    async def tools(session):
        return (await session.list_tools()).tools

    found = {tool.name.removeprefix("smola_demo_"): tool for tool in with_session(address, tools)}
    assert {name.rpartition("_")[2] for name in found} == {"ask", "sweep", "info"}
    assert len(found) == 3
    ask = next(tool for name, tool in found.items() if name.endswith("ask"))
    assert "question about one picture" in ask.description
    assert set(ask.inputSchema["properties"]) == {"image", "task", "question", "ablation", "max_new_tokens"}
    assert "visual:3@8-15" in ask.inputSchema["properties"]["ablation"]["description"]


def test_every_tool_answers(address):
    image = Image.new("RGB", (24, 18), "teal")
    *_, answer = FakeEngine(layers=4).answer(Request(image, "caption", None, "visual:3"))
    found = value(call(address, "ask", image=data_url(image), ablation="visual:3"))
    assert found["answer"] == answer.text
    assert found["ablation"] == {"spec": "visual:3", "modules_touched": 12}
    assert value(call(address, "info"))["experts"] == "embedded-omni"
    swept = value(call(address, "sweep", image=data_url(image)))
    assert len(swept["experts"]) == 24


def test_bad_input_is_one_sentence(address):
    image = data_url(Image.new("RGB", (24, 18), "teal"))
    for given, reason in (({"ablation": "audio:1"}, "audio"), ({"task": "vqa"}, "needs a question")):
        result = call(address, "ask", image=image, **given)
        assert result.isError
        assert reason in said(result)
        assert "Traceback" not in said(result)
