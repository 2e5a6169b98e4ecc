"""Questions derived from captions: only what several people agree on, balanced, the same every time."""

from __future__ import annotations

import json

import pytest

from smola_demo.config import DataSource
from smola_demo.data.captions import Mention, lone, read, sure
from smola_demo.data.mixture import Mixture
from smola_demo.data.photo_presence import presence
from smola_demo.data.photo_questions import derive
from smola_demo.data.row import Row, RowError, held_out

DOG = [
    "A black dog runs on the grass.",
    "A black dog is running.",
    "The black dog runs across the grass.",
    "A dog on the green grass.",
    "Dog running on a lawn.",
]
WOMAN = [
    "A woman climbs a rock.",
    "A woman in a red shirt is climbing.",
    "A woman with a red shirt on a cliff.",
    "A climber in a red t-shirt.",
    "The lady climbs.",
]
HORSES = [
    "Two horses walk through the snow.",
    "Two brown horses in the snow.",
    "Two horses walking.",
    "A brown horse and a white horse.",
    "Horses in deep snow.",
]
MAN = [
    "A man reads.",
    "A man is reading a book.",
    "A man with a book.",
    "A man sits.",
    "The man reads a book.",
]


def photos(*told, name="p{}.jpg"):
    return [
        Row(name.format(i), "caption", None, tuple(one), "mine", f"mine:{i}") for i, one in enumerate(told)
    ]


def captions(texts):
    return [read(text) for text in texts]


def test_a_caption_is_taken_apart():
    one = read("Two small brown dogs and a man in a red T-shirt.")
    assert one.of("dog") == (Mention("dog", 2, several=True, colors=("brown",)),)
    assert one.of("man") == (Mention("man", 1, several=False, colors=()),)
    assert one.of("wear:shirt") == (Mention("wear:shirt", 1, several=False, colors=("red",)),)
    assert read("A black and white dog.").of("dog")[0].colors == ("black", "white")
    assert read("A dog sled in the snow.").of("dog") == ()
    assert read("The man's hat is grey.").of("man") == ()
    assert read("Dogs play.").of("dog") == (Mention("dog", None, several=True, colors=()),)


@pytest.mark.parametrize(
    ("texts", "things", "number"),
    [
        (HORSES, ("horse",), 2),  # one caption counts them one by one
        (DOG, ("dog",), 1),
        ([*DOG[:4], "Two dogs run."], ("dog",), None),  # one differs
        ([*DOG[:4], "A group with a dog."], ("dog",), None),
        ([*DOG[:4], "A dog chases another animal."], ("dog",), None),
        (["A dog.", "A dog.", "Dog.", "The dog."], ("dog",), None),  # two say a number
        (["A man and a woman."] * 3 + ["A couple."], ("man", "woman"), 2),
        (["Two horse carriages in a street."] * 4, ("horse",), None),  # how many horses is not said
        (["Two sheep on a hill."] * 4, ("sheep",), 2),
        (["Two people ride.", "Two bikers.", "Two cyclists.", "Four dirt bike riders."], ("person",), None),
        (["Four dirt bike riders.", "Four bike riders."] * 2, ("person",), 4),
    ],
)
def test_numbers_need_three_who_agree_and_none_who_does_not(texts, things, number):
    assert sure(captions(texts), *things) == number


def test_who_is_there_and_who_is_not():
    assert lone(captions(WOMAN)) == "woman"
    assert lone(captions([*WOMAN[:4], "A man climbs."])) is None
    found = presence(captions(WOMAN))
    assert found["woman"] is True
    assert found["man"] is False
    assert found["dog"] is False
    assert "girl" not in found  # a young woman may be called a girl
    assert "boat" not in presence(captions(["A woman by the lake."] * 5))
    alone = presence(captions(DOG))
    assert alone["dog"] is True
    assert alone["person"] is False
    assert "person" not in presence(captions([*DOG[:4], "A dog and its owner."]))
    assert "person" not in presence(captions(["A fireman at work."] * 5))
    assert "man" not in presence(
        captions(["A man runs.", "A man.", "Someone runs.", "A runner.", "Running."])
    )


def asked(rows):
    return {(row.question.lower().rstrip("?"), row.answers[0]) for row in rows}


def test_what_is_asked_of_a_few_photographs():
    rows = derive(photos(DOG, WOMAN, HORSES, MAN))
    assert {row.task for row in rows} == {"vqa", "count"}
    assert all(row.source == "mine" and row.image in {"p0.jpg", "p1.jpg", "p2.jpg", "p3.jpg"} for row in rows)
    assert len({row.id for row in rows}) == len(rows)
    found = asked(rows)
    answers = {answer for _, answer in found}
    assert {"black", "red", "woman", "man", "2", "dog", "horse", "snow", "grass", "yes", "no"} <= answers
    assert any("shirt" in question and answer == "red" for question, answer in found)
    assert not any("colo" in question and "horse" in question for question, _ in found)  # they differ


def test_a_color_is_accepted_in_all_its_words():
    told = ["A gray dog.", "A grey dog runs.", "The gray dog.", "A dog."]
    spotted = ["A gray and white dog.", "A grey and white dog runs.", "The white and gray dog.", "A dog."]
    colors = [row.answers for row in derive(photos(told, spotted, WOMAN)) if row.answers[0][:4] == "gray"]
    assert ("gray", "grey") in colors
    assert ("gray and white", "grey and white", "white and gray", "white and grey") in colors


def test_yes_is_as_common_as_no_for_each_thing_and_no_answer_prevails():
    rows = derive(photos(*[DOG] * 7, *[WOMAN] * 3, *[HORSES] * 2))
    by_thing: dict[str, list[str]] = {}
    for row in rows:
        if row.answers[0] in ("yes", "no") and " a" in row.question:
            thing = row.question.rstrip("?").replace(" visible", "").split(" in the ")[0].split()[-1]
            by_thing.setdefault(thing, []).append(row.answers[0])
    assert {"dog", "woman", "horse"} <= set(by_thing)
    for thing, given in by_thing.items():
        assert given.count("yes") == given.count("no"), thing
    animals = [row.answers[0] for row in rows if "nimal" in row.question]
    assert animals.count("dog") == animals.count("horse") == 2


def test_the_same_rows_in_any_order_and_nothing_where_it_is_not_certain():
    told = photos(DOG, WOMAN, HORSES, MAN)
    assert asked(derive(told)) == asked(derive(told[::-1]))
    assert derive(photos(["A toy dog.", *DOG[:4]], ["A dog.", "A dog.", "A dog."])) == []


def test_a_ball_for_tennis_is_no_match():
    told = ["A dog with a tennis ball.", "A dog and a tennis ball.", "A dog bites a tennis ball.", "A dog."]
    surf = ["A man surfing.", "A surfer.", "A man on a surfboard.", "A man surfs a wave."]
    ski = ["A skier.", "A man skiing.", "A skier on a slope.", "Somebody skiing."]
    assert {row.answers[0] for row in derive(photos(told, surf, ski)) if "sport" in row.question} == {
        "surfing",
        "skiing",
    }


def test_snow_in_a_hand_is_not_on_the_ground():
    told = ["A boy throws snow.", "A boy with a lump of snow.", "A boy holds snow.", "A boy and some snow."]
    assert not any(row.answers == ("snow",) for row in derive(photos(told, DOG)))
    snow = [HORSES[0], HORSES[1], HORSES[4], "Horses."]
    assert any("ground" in row.question and row.answers == ("snow",) for row in derive(photos(snow, DOG)))


def write(path, told):
    rows = [{"image": row.image, "task": "caption", "question": None, "answers": row.answers} for row in told]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_source_that_derives(tmp_path):
    path = write(tmp_path / "c.jsonl", photos(*[DOG, WOMAN, HORSES, MAN] * 8))
    plain, wider = Mixture([DataSource(path)], pack=99), Mixture([DataSource(path, derive=True)], pack=99)
    assert {item.task for i in range(40) for item in plain[i].items} == {"caption"}
    tasks = {item.task for i in range(40) for item in wider[i].items}
    assert tasks == {"caption", "vqa", "count"}
    assert wider.sizes() == plain.sizes()
    assert not any(held_out(wider[i].key) for i in range(40))
    only = Mixture([DataSource(path, tasks=("count",), derive=True)])
    assert {item.task for i in range(10) for item in only[i].items} == {"count"}


def test_sources_that_cannot_derive(tmp_path):
    with pytest.raises(RowError, match="'shapes' is a generator and has no captions: leave its derive out"):
        Mixture([DataSource("shapes", derive=True)])
    path = write(tmp_path / "c.jsonl", photos(*[["A dog.", "A cat."]] * 30))
    with pytest.raises(RowError, match="needs photographs with four or more captions each"):
        Mixture([DataSource(path, derive=True)])
