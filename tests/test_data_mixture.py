"""The training stream: item i depends on seed and i alone, shares are kept, development pictures stay out."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from PIL import Image

from smola_demo.config import DataSource
from smola_demo.data.mixture import Mixture
from smola_demo.data.row import RowError, held_out


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def captions(tmp_path):
    """60 pictures with five captions each; the files of the pictures need not exist."""
    rows = [
        {
            "image": f"p{i}.png",
            "task": "caption",
            "question": None,
            "answers": [f"{i}: {word}." for word in "abcde"],
        }
        for i in range(60)
    ]
    return write(tmp_path / "captions.jsonl", rows)


def answers(group):
    return [item.answer for item in group.items]


def test_items_depend_on_seed_and_index_only(captions):
    sources = [DataSource(captions), DataSource("words", weight=0.5), DataSource("shapes")]
    one, two = (Mixture(sources, pack=3, seed=4) for _ in range(2))
    forward = [one[i] for i in range(40)]
    for i in reversed(range(40)):  # drawn in another order by another object
        again = two[i]
        assert (again.items, again.key, again.index) == (forward[i].items, forward[i].key, i)
        assert again.source == forward[i].source
    resumed = list(islice(Mixture(sources, pack=3, seed=4).iterate(25), 5))
    assert [group.items for group in resumed] == [group.items for group in forward[25:30]]
    other = Mixture(sources, pack=3, seed=5)
    assert [other[i].items for i in range(40)] != [group.items for group in forward]


def test_shares_are_exact(captions):
    mixture = Mixture([DataSource(captions, weight=3), DataSource("words", weight=1)])
    drawn = Counter(mixture[i].source == "drawn words" for i in range(1024))
    assert drawn == {False: 768, True: 256}


def test_a_tiny_weight_is_still_drawn(captions):
    mixture = Mixture([DataSource(captions, weight=1), DataSource("words", weight=1e-6)])
    assert sum(mixture[i].source == "drawn words" for i in range(1024)) == 1


def test_every_picture_once_an_epoch_and_never_the_development_share(captions):
    mixture = Mixture([DataSource(captions)], pack=5)
    train = mixture.sizes()[captions]
    assert 48 <= train < 60
    for epoch in range(3):
        keys = [mixture[i].key for i in range(epoch * train, (epoch + 1) * train)]
        assert len(set(keys)) == train
        assert not any(held_out(key) for key in keys)
    first, second = ([mixture[i].key for i in range(e * train, (e + 1) * train)] for e in range(2))
    assert first != second


def test_the_development_split_is_the_other_pictures(captions):
    sources = [DataSource(captions), DataSource("words")]
    train, dev = Mixture(sources), Mixture(sources, split="dev")
    assert train.sizes()[captions] + dev.sizes()[captions] == 60
    groups = [dev[i] for i in range(60)]
    assert all(held_out(group.key) for group in groups if group.source != "drawn words")
    assert all(group.key.startswith("words/dev/") for group in groups if group.source == "drawn words")
    with pytest.raises(RowError, match="no split 'test'; choose train or dev"):
        Mixture(sources, split="test")


def test_a_picture_that_one_source_holds_out_is_trained_on_in_none(tmp_path):
    """The same pictures in two files under other names, as COCO's of 2014 and of 2017."""
    names = [("COCO_val2014_{:012d}.png", "a"), ("{:012d}.png", "b")]
    sources = []
    for name, folder in names:
        rows = [row("ask", "?", "!", image=name.format(i)) for i in range(60)]
        sources.append(DataSource(write(tmp_path / folder / "rows.jsonl", rows)))
        for i in range(60):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / folder / name.format(i))
    train, dev = Mixture(sources), Mixture(sources, split="dev")
    learned, held = ({m[i].open().getpixel((0, 0)) for i in range(400)} for m in (train, dev))
    assert len(held) > sum(held_out(names[0][0].format(i)) for i in range(60)) > 0
    assert learned
    assert not learned & held


def test_all_five_captions_are_targets(captions):
    mixture = Mixture([DataSource(captions)], pack=5)
    group = mixture[0]
    number = group.key.rsplit("/p", 1)[1].removesuffix(".png")
    assert sorted(answers(group)) == [f"{number}: {word}." for word in "abcde"]
    single = Mixture([DataSource(captions)], pack=1)
    seen = {answers(single[i])[0][-2] for i in range(200)}
    assert seen == set("abcde")


def row(task, question, *given, image="x.png"):
    return {"image": image, "task": task, "question": question, "answers": list(given)}


def test_rows_of_a_picture_travel_together_and_long_answers_are_left_out_not_cut(tmp_path):
    path = write(
        tmp_path / "rows.jsonl",
        [
            row("doc_qa", "Total?", "9.90"),
            row("ocr", "Read.", "x" * 121),
            row("vqa", "On it?", "book, pen", "pen, book", "y" * 121),
            row("chart_qa_fill", "So ___%.", "39%", "39"),
            row("chart_qa_open", "Why?", "Because."),
        ],
    )
    assert not held_out("x.png")
    mixture = Mixture([DataSource(path)], pack=9)
    seen = {item for i in range(60) for item in mixture[i].items}
    assert seen == {
        ("document", "Total?", "9.90"),
        ("vqa", "On it?", "book, pen"),
        ("chart", "So ___%.", "39"),
    }
    assert all(len(mixture[i].items) == 3 for i in range(10))
    assert mixture.left_out == [
        f"1 of 4 rows of {path}, whose answers are longer than max_answer_chars (120)"
    ]
    longer = Mixture([DataSource(path, tasks=("read",))], pack=9, max_answer_chars=200)
    assert answers(longer[0]) == ["x" * 121]
    assert longer.left_out == []


def test_pack_is_the_most_items(tmp_path):
    path = write(tmp_path / "rows.jsonl", [row("vqa", f"Q{i}?", "a") for i in range(7)])
    mixture = Mixture([DataSource(path)], pack=4)
    chosen = [{item.question for item in mixture[i].items} for i in range(30)]
    assert all(len(questions) == 4 for questions in chosen)
    assert set().union(*chosen) == {f"Q{i}?" for i in range(7)}


def test_a_source_may_pack_otherwise(tmp_path):
    path = write(tmp_path / "rows.jsonl", [row("vqa", f"Q{i}?", "a") for i in range(7)])
    mixture = Mixture([DataSource(path), DataSource("counts", pack=6)], pack=2)
    packed = {
        "rows" if group.source != "drawn counts" else "counts": len(group.items)
        for group in islice(mixture.iterate(), 40)
    }
    assert packed == {"rows": 2, "counts": 6}


def test_generators_are_filtered_by_task():
    mixture = Mixture([DataSource("forms", tasks=("read",)), DataSource("shapes", tasks=("count",))], pack=2)
    groups = [mixture[i] for i in range(30)]
    assert {item.task for group in groups for item in group.items} == {"read", "count"}
    assert len({group.key for group in groups}) == 30
    assert groups[0].open().mode == "RGB"


def test_pictures_open_from_their_files(tmp_path):
    Image.new("RGB", (5, 4), "red").save(tmp_path / "x.png")
    group = Mixture([DataSource(write(tmp_path / "rows.jsonl", [row("ask", "?", "!")]))])[0]
    assert group.open().size == (5, 4)


def test_what_cannot_be_mixed(tmp_path, captions):
    with pytest.raises(RowError, match=r"There is no data file .*gone\.jsonl: check the path, or leave this"):
        Mixture([DataSource(str(tmp_path / "gone.jsonl"))])
    with pytest.raises(RowError, match="has no train row left"):
        Mixture([DataSource(captions, tasks=("count",))])
    with pytest.raises(RowError, match="has no train row left"):
        Mixture([DataSource(captions)], max_answer_chars=2)
    with pytest.raises(RowError, match="asks for the task 'sing'"):
        Mixture([DataSource(captions, tasks=("sing",))])
    with pytest.raises(RowError, match="no source"):
        Mixture([])
    with pytest.raises(RowError, match="pack must be at least 1"):
        Mixture([DataSource(captions)], pack=0)
    with pytest.raises(RowError, match="'words' draws nothing for the tasks chart"):
        Mixture([DataSource("words", tasks=("chart",))])[0]
    with pytest.raises(IndexError, match="starts at 0"):
        Mixture([DataSource(captions)])[-1]
