"""Rows of a hub's set: by the library where it is installed, from a stand-in of its table where not."""

from __future__ import annotations

import importlib.util
import io
import sys
import types

import pytest
from PIL import Image

from smola_demo.config import ConfigError, DataSource
from smola_demo.data import hub
from smola_demo.data.hub import read_hub
from smola_demo.data.mixture import Mixture
from smola_demo.data.row import RowError


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Table:
    """As much of a loaded split as is read: columns, rows by number, some of the columns."""

    def __init__(self, rows: list[dict]):
        self.rows, self.column_names = rows, list(rows[0])

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.rows[index]

    def select_columns(self, names: list[str]) -> Table:
        return Table([{name: row[name] for name in names} for row in self.rows])


def rows(count: int = 30) -> list[dict]:
    """Two questions on each picture; the answer is one text or a list of them."""
    return [
        {
            "picture": {"bytes": png(i // 2), "path": None},
            "asked": f"Q{i}?",
            "said": [f"a{i}", "b"] if i % 2 else f"a{i}",
        }
        for i in range(count)
    ]


def source(**values) -> DataSource:
    given = {"name": "hub:some/set", "tasks": ("vqa",), "columns": ("picture", "asked", "said")}
    return DataSource(**(given | values))


@pytest.fixture
def loaded(monkeypatch):
    def put(made: list[dict]) -> None:
        monkeypatch.setattr(hub, "_load", lambda _source: Table(made))

    put(rows())
    return put


def test_columns_become_rows_and_pictures_stay_unread(loaded):
    found = read_hub(source())
    assert [(r.question, r.answers) for r in found[:2]] == [("Q0?", ("a0",)), ("Q1?", ("a1", "b"))]
    assert found[4].open().getpixel((0, 0)) == (2, 0, 0)
    assert found[0].image_name == found[1].image_name != found[2].image_name
    assert len({r.id for r in found}) == len(found)
    assert read_hub(source(tasks=("caption",)))[0].question is None


def test_a_mixture_draws_from_it_and_keeps_pictures_apart(loaded):
    train, dev = Mixture([source()], pack=2), Mixture([source()], pack=2, split="dev")
    names = [{mixture[i].key for i in range(60)} for mixture in (train, dev)]
    assert names[0]
    assert names[1]
    assert not names[0] & names[1]
    assert len(train[0].items) == 2
    assert train[0].open().size == (6, 4)


@pytest.mark.parametrize(
    ("spoil", "given", "said"),
    [
        ({}, {"columns": ("picture", "query", "said")}, "no column 'query'; it has picture, asked, said"),
        ({"asked": None}, {}, "row 0: 'asked' must be a question, not None"),
        ({"picture": None}, {}, "hub:some/set, row 0: 'picture' must be a picture, not empty"),
        ({"picture": {"bytes": None, "path": None}}, {}, "row 0: 'picture' must be a picture"),
        ({"said": []}, {}, "row 0: 'said' must be an answer"),
        ({"said": [1]}, {}, "row 0: 'said' must be an answer"),
    ],
)
def test_a_set_of_another_shape_is_refused_in_one_sentence(loaded, spoil, given, said):
    made = rows()
    made[0] |= spoil
    loaded(made)
    with pytest.raises(RowError, match=said):
        read_hub(source(**given))


def test_a_source_says_what_its_rows_are():
    with pytest.raises(ConfigError, match="give tasks the one they are of"):
        source(tasks=())
    with pytest.raises(ConfigError, match="columns are picture, question and answers"):
        source(columns=("picture",))


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RowError, match="pip install datasets"):
        read_hub(source())


def test_what_the_library_says_is_passed_on(monkeypatch):
    def load_dataset(*place, split):
        raise FileNotFoundError(f"{place} {split} is nowhere")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        RowError, match=r"hub:some/set/part, split 'val', cannot be read: \('some/set', 'part'\)"
    ):
        read_hub(source(name="hub:some/set/part", split="val"))


@pytest.mark.skipif(
    not importlib.util.find_spec("datasets"), reason="the optional library datasets is absent"
)
@pytest.mark.filterwarnings("ignore")
def test_a_folder_in_the_hubs_form_is_read_by_the_library(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    made = [row | {"said": "x"} for row in rows()]
    (tmp_path / "data").mkdir()
    parquet.write_table(pa.Table.from_pylist(made), tmp_path / "data" / "train-00000.parquet")
    found = read_hub(source(name=f"hub:{tmp_path}"))
    assert [r.question for r in found] == [row["asked"] for row in made]
    assert found[8].open().getpixel((0, 0)) == (4, 0, 0)
    assert found[0].image_name == found[1].image_name
