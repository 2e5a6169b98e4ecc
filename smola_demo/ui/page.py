"""The whole page: header, loading line, tabs, footer. A new tab is one more file and one more line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo import __version__
from smola_demo.ui.ablate_handlers import AblateHandlers
from smola_demo.ui.ablate_tab import AblateTab
from smola_demo.ui.api import Api
from smola_demo.ui.ask_handlers import AskHandlers
from smola_demo.ui.ask_tab import AskTab
from smola_demo.ui.atlas_tab import AtlasTab
from smola_demo.ui.compare_handlers import CompareHandlers
from smola_demo.ui.compare_tab import CompareTab
from smola_demo.ui.examples import ASSETS, read_examples
from smola_demo.ui.explorer_tab import ExplorerTab
from smola_demo.ui.model_handlers import ModelHandlers
from smola_demo.ui.model_runs import skip
from smola_demo.ui.model_tab import ModelTab
from smola_demo.ui.rank_handlers import RankHandlers
from smola_demo.ui.share import Share, is_recorded
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.truth_tab import TruthTab
from smola_demo.ui.view import decode, encode, file_url, serve_files, view
from smola_demo.ui.wiring import QUIET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smola_demo.ui.loading import EngineHandle

LOOK_S = 5.0  # how often a page looks whether another visitor has changed the model
# A look sends no more of the views than which model they are of.
MARKS = """(...all) => all.map((value, index) => {
  if (index > 3) return value;
  try {
    const { loads, origin, state } = JSON.parse(value);
    return JSON.stringify({ loads, origin, state });
  } catch {
    return "{}";
  }
})"""
TITLE = "Omni-SMoLA, seen at work"
PAPER = "https://arxiv.org/abs/2312.00968"
HEADER = f"""
<header class="masthead">
  <h1>{TITLE}</h1>
  <p>A frozen vision-language model with a soft mixture of low-rank experts, one group for
  <b class="visual">visual</b> tokens, one for <b class="text">text</b> tokens and a
  <b class="multimodal">multimodal</b> one for both. Ask about a picture and watch which experts the model
  uses, layer by layer, while it answers. Then take one out.</p>
</header>
"""


def footer(root: Path) -> str:
    """What this is, its source, its licences; links to files that are there."""
    links = [f'<a href="{PAPER}" rel="noopener" target="_blank">paper: arXiv 2312.00968</a>']
    for name, text in (("README.md", "README"), ("LICENSE", "licence")):
        if (root / name).is_file():
            links.append(f'<a href="{file_url(root / name)}" target="_blank">{text}</a>')
    return f"""
<footer class="colophon">
  <p>smola_demo {__version__}: an independent, open implementation of Omni-SMoLA, not by the paper's authors.
  Every number on this page is computed by the model: on your input, and in the last two tabs on ours.
  Pictures stay on the server that runs this page and are deleted within two hours.</p>
  <p>The model's licence stands under the answer, each example's source in its tooltip.</p>
  <p class="links">{" · ".join(links)}</p>
</footer>
"""


def build(
    handle: EngineHandle, assets: Path = ASSETS, gpu: Callable[[Any], Any] = lambda run: run
) -> gr.Blocks:
    """The page on an engine that may still be loading. Launch it with `launch_kwargs()`.

    assets  folder of the example gallery; may be missing
    gpu     decorator for the generators that run the model (`spaces.GPU` on ZeroGPU)
    """
    examples = read_examples(assets)
    root = assets.parent
    serve_files(
        [*(e.image for e in examples), *(p for p in (root / "README.md", root / "LICENSE") if p.is_file())]
    )
    stops = StopFlags()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        Api(handle, gpu).publish()  # first, so that no private handler takes its names
        gr.HTML(HEADER)
        status = view("note", {"text": handle.status, "kind": "loading"}, label="Loading", elem_id="loading")
        explorer = ExplorerTab()
        tab = AskTab(AskHandlers(handle, stops, examples, gpu))
        ablation = AblateHandlers(handle, stops, gpu)
        ablate = AblateTab(ablation, RankHandlers(ablation, gpu))
        compare = CompareTab(CompareHandlers(handle, stops, gpu))
        atlas, truth = AtlasTab(handle), TruthTab(handle)
        model = ModelTab(ModelHandlers(handle, handle.make_models)) if handle.make_models else None
        share = Share(handle, assets, examples)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Ask", id="ask", elem_id="tab-ask"):
                tab.layout(share.layout)
            with gr.Tab("Routing", id="routing", elem_id="tab-routing", render_children=True):
                share.layout_note()
                explorer.layout()
            with gr.Tab("Ablate", id="ablate", elem_id="tab-ablate", render_children=True) as ablate_tab:
                ablate.layout()
            with gr.Tab("Compare", id="compare", elem_id="tab-compare", render_children=True):
                compare.layout()
            if model:
                with gr.Tab("Model", id="model", elem_id="tab-model", render_children=True):
                    model.layout()
            with gr.Tab("Atlas", id="atlas", elem_id="tab-atlas", render_children=True):
                atlas.layout()
            with gr.Tab("Is it true?", id="truth", elem_id="tab-truth", render_children=True):
                truth.layout()
        gr.HTML(footer(root))
        tab.wire(explorer.view)
        ablate.wire(tab, ablate_tab, tabs)
        compare.wire(tab)
        explorer.wire(tab, ablate, tabs)
        atlas.wire(ablate, tabs)
        truth.wire()
        arrived = share.wire(tab, explorer.view, ablate, tabs, page)
        waiting = [*tab.waiting, *ablate.waiting, *compare.waiting, atlas.view, truth.view]
        waiting += model.waiting if model else []
        results = [explorer.view, ablate.comparison, ablate.ranking, compare.contrast]
        timer = gr.Timer(active=False)  # goes once a link's wishes are in their fields

        def tick(
            shown: str,
            comparison: str,
            ranking: str,
            contrast: str,
            spec: str,
            noted: str,
            request: gr.Request,
        ) -> tuple[Any, ...]:
            """Once a second until the engine is there: how far loading has come. Recorded runs stay.

            Where the model can be changed, every few seconds after that: what another one left behind goes,
            once the visitor's own run is over. What is of the new model stays.

            noted  the loading line, which holds what the page knows of: Gradio keeps few pages' states
            """
            heard = decode(noted).get("loads")
            known = heard if isinstance(heard, int) else 0
            line = {"text": handle.status, "kind": "loading" if handle.loading else "error"}
            held = known != handle.loads and stops.flag(request.session_hash) is not None
            note, unchanged = encode(line | {"loads": known}), skip(len(waiting) + len(results))
            if handle.loading or held:
                return note, gr.Timer(1.0, active=True), *unchanged
            rest = gr.Timer(LOOK_S, active=True) if model else gr.Timer(active=False)
            if known == handle.loads:
                return note, rest, *unchanged
            offline = (*atlas.loaded(), *truth.loaded())
            asked = tab.handlers.loaded()
            values = map(decode, (shown, comparison, ranking, contrast))
            fresh, *stay = [value.get("loads") == handle.loads for value in values]
            fresh = fresh or is_recorded(shown)
            asked = (*skip(2), *asked[2:]) if fresh else asked
            ended = (*asked, *ablate.handlers.loaded(spec), *compare.handlers.loaded(), *offline)
            offered = model.handlers.loaded() if model else ()
            explored = fresh and decode(shown).get("state") == "done"
            idle = [gr.skip() if new else encode({"state": "idle"}) for new in stay]
            left = (gr.skip() if explored else encode({}), *idle) if known else skip(len(results))
            return encode(line | {"loads": handle.loads}), rest, *ended, *offered, *left

        inputs = [tab.answer, *results[1:], ablate.spec, status]
        outputs = [status, timer, *waiting, *results]
        for event in (arrived.then, timer.tick, *([model.wire().then] if model else [])):
            event(tick, inputs, outputs, js=MARKS, queue=False, **QUIET)

        def leave(request: gr.Request) -> None:
            stops.end(request.session_hash)

        page.unload(leave)
    page.queue(max_size=20, api_open=False)
    return page
