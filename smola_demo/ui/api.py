"""The endpoints for programs and for MCP clients: typed, documented, and nothing kept between two calls.

Gradio reads the annotations and docstrings of these methods: they are what a client sees.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Literal, get_args

import gradio as gr
from gradio.data_classes import FileData
from gradio.events import api

from smola_demo.ablation_spec import AblationSpec
from smola_demo.reports import answer_report, engine_report, sweep_report
from smola_demo.results import Answer, Request, Sweep
from smola_demo.tasks import check_question, get_task
from smola_demo.ui.examples import uploaded
from smola_demo.ui.loading import EngineHandle, sentence
from smola_demo.ui.model_handlers import ModelHandlers
from smola_demo.ui.model_runs import log
from smola_demo.ui.wiring import MODEL

By = Literal["expert", "layer", "projection"]
Precision = Literal["auto", "nf4", "int8", "bf16", "fp32"]
MAX_EXPERT_CHARS = 60
Task = Literal["caption", "vqa", "count", "read", "chart", "document", "ask"]


def told(run: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever goes wrong, the client gets one sentence; what was not meant for it goes to the log."""

    @functools.wraps(run)
    def safe(*given: Any, **named: Any) -> Any:
        try:
            return run(*given, **named)
        except Exception as error:
            log(error)
            raise gr.Error(sentence(error), print_exception=False) from error

    return safe


class Api:
    """Endpoints on an engine that may still be loading. `gpu` is as for the page's own handlers."""

    def __init__(self, handle: EngineHandle, gpu: Callable[[Any], Any] = lambda run: run) -> None:
        def run_answer(request: Request) -> Iterator[Any]:
            yield from handle.engine.answer(request)

        def run_sweep(request: Request, by: str, expert: str | None) -> Iterator[Any]:
            yield from handle.engine.sweep(request, by, expert)

        self.handle = handle
        self._changing = ModelHandlers(handle, handle.make_models) if handle.make_models else None
        self._answer, self._sweep = gpu(run_answer), gpu(run_sweep)

    def publish(self) -> None:
        """Add the endpoints to the page that is being built."""
        for run in (self.ask, self.sweep):
            api(run, concurrency_id=MODEL, concurrency_limit=1)
        api(self.info, queue=False)
        if self._changing:
            api(self.models, queue=False)
            api(self.load, concurrency_id=MODEL, concurrency_limit=1)

    @told
    def ask(
        self,
        image: FileData,
        task: Task = "caption",
        question: str = "",
        ablation: str = "",
        max_new_tokens: int = 0,
    ) -> dict[str, Any]:
        """Answer one question about one picture, and say how the experts were used for it.

        Args:
            image: a picture: PNG, JPEG or WebP of at most 10 MB
            task: what to do with it; vqa, count, chart, document and ask need a question
            question: the question, where the task needs one
            ablation: experts to take out, for example "visual:3@8-15" or "text:*"; empty for none
            max_new_tokens: longest answer in tokens; 0 for the task's own limit

        Returns:
            answer, tokens with their log-probabilities, routing summary of prompt and answer, ablation with
            the number of modules it touched, timing
        """
        request = self._request(image, task, question, ablation, max_new_tokens)
        answer = _last(self._answer(request), Answer)
        return answer_report(answer, routing=True)

    @told
    def sweep(
        self,
        image: FileData,
        task: Task = "caption",
        question: str = "",
        by: By = "expert",
        expert: str = "",
        max_new_tokens: int = 0,
    ) -> dict[str, Any]:
        """Take each expert out, one at a time, and say what that does to the answer; slower than ask.

        Args:
            image: a picture: PNG, JPEG or WebP of at most 10 MB
            task: what to do with it; vqa, count, chart, document and ask need a question
            question: the question, where the task needs one
            by: expert for all experts; layer or projection to look into one
            expert: the one to look into, for example "visual:3"; empty with by="expert"
            max_new_tokens: longest answer in tokens; 0 for the task's own limit

        Returns:
            baseline answer, one entry per expert with the change of the answer's log-probability, random
            removals of the same size, seconds
        """
        request = self._request(image, task, question, "", max_new_tokens)
        if by not in get_args(By):
            raise ValueError(f"by must be one of {', '.join(get_args(By))}")
        if not isinstance(expert or "", str) or len(expert or "") > MAX_EXPERT_CHARS:
            raise ValueError('expert must name one expert, for example "visual:3"')
        return sweep_report(_last(self._sweep(request, by, expert or None), Sweep))

    @told
    def info(self) -> dict[str, Any]:
        """Say which model and experts are loaded, their groups, layers and projections, and the tasks.

        Returns:
            facts about what is loaded; while it still loads, an error says so
        """
        return engine_report(self.handle.require())

    @told
    def models(self) -> dict[str, Any]:
        """Say which models can be loaded in place of the present one, and whether each would fit.

        Returns:
            models, each with licence, parameters, bytes of its weights, fit and experts made for it, or with
            fit alone saying why it cannot be told; open says whether other ids and folders are taken too
        """
        offers = self._offers()
        told: list[dict[str, Any]] = []
        for name, id_ in offers.models.choices:
            try:
                told.append(asdict(offers.models.model(id_, freed=offers.freed())))
            except ValueError as error:  # one that cannot be reached hides no other
                told.append({"id": id_, "name": name, "fits": False, "fit": sentence(error)})
        return {"models": told, "open": offers.models.open}

    @told
    def load(self, backbone: str, experts: str = "", precision: Precision = "auto") -> dict[str, Any]:
        """Load another model in place of the present one, for everybody; a failure leaves the present one.

        Args:
            backbone: the id of one of `models`
            experts: the name of experts made for it; empty for its own, none for the plain backbone
            precision: how its weights are held; auto is the usual choice

        Returns:
            facts about what is loaded then
        """
        for _ in self._offers().switch(backbone, experts, precision):
            pass
        return engine_report(self.handle.require())

    def _offers(self) -> ModelHandlers:
        if self._changing is None:
            raise ValueError("The model cannot be changed here.")
        return self._changing

    def _request(
        self, image: Any, task: str, question: str | None, ablation: str | None, max_new_tokens: int | None
    ) -> Request:
        """What was asked, checked. Raises a ValueError with one sentence."""
        self.handle.require()
        get_task(task)
        asked = check_question(task, question)
        if max_new_tokens is not None and (
            not isinstance(max_new_tokens, int) or not 0 <= max_new_tokens <= 512
        ):
            raise ValueError("max_new_tokens must be a whole number from 0 to 512")
        if not isinstance(ablation or "", str):
            raise ValueError('ablation must be text, for example "visual:3"')  # noqa: TRY004  for the client
        AblationSpec.parse(ablation)
        picture = uploaded(_checked_file(image))
        return Request(picture, task, asked, (ablation or "").strip(), max_new_tokens or None)


def _checked_file(image: Any) -> dict[str, Any]:
    """A file as Gradio has let it in. Without its mark nobody checked where the path leads: refused."""
    marked = isinstance(image, dict) and (image.get("meta") or {}).get("_type") == "gradio.FileData"
    if not marked or not isinstance(image.get("path"), str):
        raise ValueError("Send a picture as a file: with the Python client, handle_file('picture.jpg').")
    return {"path": image["path"]}


def _last(items: Iterator[Any], kind: type[Any]) -> Any:
    """The result at the end of a run."""
    *_, last = items
    if not isinstance(last, kind):
        raise TypeError(f"the run ended with {type(last).__name__}")
    return last
