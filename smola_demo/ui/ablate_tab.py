"""Third tab: take experts out of the Ask tab's answer, and rank all of them by what that costs it.

Layout and wiring only; what happens is in ablate_handlers and rank_handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.ui import ranking
from smola_demo.ui.ablate_handlers import NO_PICTURE
from smola_demo.ui.picker import picker_value
from smola_demo.ui.view import view
from smola_demo.ui.wiring import EACH, LATEST, QUIET, connect_run, run_buttons

if TYPE_CHECKING:
    from smola_demo.ui.ablate_handlers import AblateHandlers
    from smola_demo.ui.ask_tab import AskTab
    from smola_demo.ui.rank_handlers import RankHandlers


class AblateTab:
    """The tab's components. Call `layout` inside its gr.Tab, then `wire`."""

    def __init__(self, handlers: AblateHandlers, ranks: RankHandlers) -> None:
        self.handlers, self.ranks = handlers, ranks

    def layout(self) -> None:
        """Place the components: the choice and its comparison, then the ranking."""
        self.asked = view(
            "note", {"text": NO_PICTURE, "kind": "hint"}, label="What it works on", elem_id="ablate-on"
        )
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=5, min_width=320, elem_id="ablate-panel"):
                self.picker = view("picker", picker_value(None, ""), label="Experts", elem_id="picker")
                self.spec = gr.Textbox(
                    label="Written as (you may edit it)",
                    info="Also visual:0,4-6 · text:* · visual:3@8-15/mlp · several joined by ;",
                    lines=1,
                    max_lines=1,
                    max_length=300,
                    elem_id="spec",
                )
                self.ablate_button, self.stop_button = run_buttons("Ablate and compare", "ablate")
            with gr.Column(scale=6, min_width=320):
                self.comparison = view(
                    "comparison",
                    {"state": "idle"},
                    label="Comparison",
                    elem_id="comparison",
                    scripts=("saves.js",),
                )
        with gr.Column(elem_id="rank-panel"):
            gr.HTML(
                "<h2>Which experts matter for this answer</h2><p>Each is taken out alone, and the first "
                "answer is scored without it. This runs the model once per expert.</p>",
                elem_classes="panel-head",
            )
            with gr.Row(elem_classes="rank-inputs"):
                self.by = gr.Radio(list(ranking.BY), value="expert", label="Rank", elem_id="rank-by", scale=3)
                self.within = gr.Dropdown(
                    [], label="Expert", visible=False, elem_id="rank-within", min_width=120, scale=1
                )
            self.rank_button, self.rank_stop = run_buttons("Rank", "rank")
            self.ranking = view(
                "ranking",
                {"state": "idle"},
                label="Ranking",
                elem_id="ranking",
                scripts=("saves.js", "ranking-plot.js", "ranking-table.js"),
            )

    def wire(self, ask: AskTab, tab: gr.Tab, tabs: gr.Tabs) -> None:
        """Connect events to handlers. `tab` is this tab, `tabs` holds it."""
        do, ranks = self.handlers, self.ranks
        asked = [ask.image, ask.task, ask.question]
        both = [self.ablate_button, self.rank_button]
        ablated = [self.ablate_button.click, self.spec.submit]
        connect_run(ablated, do, do.ablate, [*asked, self.spec], [self.comparison], [*both, self.stop_button])
        ranked = [*asked, self.by, self.within]
        connect_run(
            [self.rank_button.click], ranks, ranks.rank, ranked, [self.ranking], [*both, self.rank_stop]
        )
        tab.select(do.asked, asked, self.asked, preprocess=False, queue=False, **QUIET)
        self.picker.select(None, None, self.spec, js="() => window.smola.spec", **QUIET)
        self.spec.change(do.read_spec, self.spec, self.picker, queue=False, **LATEST)
        chosen = [self.spec, self.picker]
        ask.routing.select(do.pick_cell, None, [*chosen, ask.take_out, ask.cell], queue=False, **EACH)
        self.ranking.select(ranks.pick_place, None, [*chosen, self.within], queue=False, **EACH)
        self.by.input(ranks.choose_by, self.by, self.within, queue=False, **LATEST)
        ask.take_out.click(do.open_cell, ask.cell, [*chosen, tabs], queue=False, **QUIET)

    @property
    def waiting(self) -> list[Any]:
        """Components that change when the engine is there."""
        buttons = [self.ablate_button, self.rank_button, self.stop_button, self.rank_stop]
        return [self.picker, self.within, *buttons]
