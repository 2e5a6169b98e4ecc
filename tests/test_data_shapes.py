"""Drawn shapes: every answer against the pixels or the marks, and nothing asked that is not certain."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.measure import label

from smola_demo.data import GENERATORS, flat_shape, shape_pairs, shape_questions, shape_relations, shapes
from smola_demo.data.ground import COLORS, distance
from smola_demo.data.shape_names import Shape
from smola_demo.data.shape_outlines import OUTLINES, outline

NAMES = (*COLORS, *OUTLINES)
# What people may call it as well.
NEAR = {"square": {"rectangle"}, "circle": {"oval"}, "teal": {"green", "blue"}}


@cache
def drawn(name, seed, split="train"):
    """The scene, drawn once for all tests."""
    return GENERATORS[name](seed, split)


def asked(seeds=250):
    """(scene, question without its capital and mark, answers) of all questions on drawn shapes."""
    for seed in range(seeds):
        scene = drawn("shapes", seed)
        for qa in scene.qa:
            if qa.question:
                yield scene, qa.question.lower().rstrip("?."), qa.answers


def named(text):
    """The colours and forms that a text has, in the singular."""
    found = re.findall(r"[a-z]+", text.lower())
    return {name for name in NAMES if {name, f"{name}s", f"{name}es"} & set(found)}


def marked(scene, text):
    """The marks with all the colours and forms of a text."""
    return [mark for mark in scene.marks if named(text) <= {word.strip() for word in mark.words}]


def passing(scene, text):
    """The marks that somebody may call by all the colours and forms of a text."""
    words = {mark: {word.strip() for word in mark.words} for mark in scene.marks}
    also = {mark: has.union(*(NEAR.get(word, ()) for word in has)) for mark, has in words.items()}
    return [mark for mark in scene.marks if named(text) <= also[mark]]


def pixels(shape):
    """How many pixels the shape covers."""
    image = Image.new("L", (256, 256))
    ImageDraw.Draw(image).polygon(outline(shape), fill=1)
    return int(np.asarray(image).sum())


@pytest.mark.parametrize(("name", "split"), [("shapes", "train"), ("counts", "train"), ("counts", "dev")])
def test_objects_are_as_many_as_connected_components(name, split):
    """On plain grounds, worn or not: pixels nearer to an object's colour than to the ground."""
    counted = Counter()
    for seed in range(120):
        scene = drawn(name, seed, split)
        seen = np.asarray(scene.image, dtype=int)
        edge = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
        level = np.median(edge, axis=0)
        if (np.abs(edge - level).sum(axis=1) < 60).mean() < 0.75 or scene.traits == ("layout:coarse",):
            continue
        off = np.abs(seen - level).sum(axis=2)
        colors = {mark.words[0].strip() for mark in scene.marks}
        inside = [np.abs(seen - COLORS[color]).sum(axis=2) < off for color in colors]
        sizes = np.bincount(label(np.any(inside, axis=0)).ravel())[1:]
        assert (sizes > 30).sum() == len(scene.marks), (name, split, seed)
        whole = [qa for qa in scene.qa if re.match("How many (shapes|objects) are there", str(qa.question))]
        assert {qa.answers for qa in whole} <= {(str(len(scene.marks)),)}
        counted[scene.traits[0]] += 1
    assert counted.total() > 50
    assert counted["layout:scatter"] > 15
    assert (counted["layout:ring"] > 10) == (split == "dev")


def test_counts_alone_against_the_marks():
    """Every answer is the number of marks with the words its question has; few ask for what is not there."""
    numbers, several = set(), 0
    for seed in range(60):
        scene = drawn("counts", seed)
        assert 2 <= len(scene.marks) <= 10
        about = []
        for qa in scene.qa:
            question = qa.question.lower()
            of_all = re.match(r"how many (?:shapes |objects |of them )?are (not )?(.+)", question)
            if "different" in question:
                place = 0 if "colo" in question else 1
                number = len({mark.words[place] for mark in scene.marks})
            elif of_all and named(of_all[2]):
                words = {f" {name}" for name in named(of_all[2])}
                number = sum((not words & set(mark.words)) == bool(of_all[1]) for mark in scene.marks)
            else:
                number = len(marked(scene, question))
                about.append((*sorted(named(question)), "object" in question))
            assert qa.answers == (str(number),), (seed, qa)
            numbers.add(number)
        assert len(set(about)) == len(about)
        assert sum(qa.answers == ("0",) for qa in scene.qa) <= 2
        several += len(scene.qa) > 8
    assert numbers == set(range(11))
    assert several > 30


def test_the_color_of_a_lone_shape_against_the_pixels():
    checked = 0
    for seed in range(200):
        scene = drawn("shapes", seed)
        caption = next(qa for qa in scene.qa if qa.task == "caption").answers[-1]
        match = re.fullmatch(r"An? (\w+) (circle|square|hexagon|pentagon|diamond)\.", caption)
        if not match or scene.traits != ("layout:single",):
            continue
        colors = scene.image.getcolors(256 * 256) or []
        nearest = sum(count for count, color in colors if distance(color, COLORS[match[1]]) < 90)
        assert nearest > 500, (seed, caption)
        checked += 1
    assert checked > 10


def test_yes_is_as_common_as_no():
    closed = [answers[0] for _, _, answers in asked() if answers[0] in ("yes", "no")]
    assert 0.45 < closed.count("yes") / len(closed) < 0.55
    one = [
        (answers[0] == "yes") == ("more than one" in question)
        for _, question, answers in asked()
        if re.match(r"is there (more than|only) one (shape|object)", question)
    ]
    assert 0.25 < sum(one) / len(one) < 0.75


def test_nobody_denies_what_an_object_passes_for():
    """Beside a square nobody is told that there is no rectangle, nor that teal is not green."""
    square = Shape("square", "teal", (0, 128, 128), 70, 128, 30, 0, 1)
    scene = (square, replace(square, form="circle", x=180))
    told = [qa for seed in range(300) for qa in shape_questions.ask(random.Random(seed), scene, "teal")]
    denied = set[str]().union(*(named(qa.question) for qa in told if qa.answers == ("no",)))
    assert {"triangle", "star", "red", "white"} <= denied
    assert not {"rectangle", "oval", "green", "blue"} & denied


def spoken_of(question):
    """The parts of a question that each speak of objects of one kind, or of one of two: "are red or blue"."""
    words = "than|above|below|under|of|and|the" + ("" if re.search(r" are \w+ or \w+", question) else "|or")
    parts = re.split(rf"\b(?:{words})\b", question)
    return [part for part in parts if named(part) and "background" not in question]


@pytest.mark.parametrize("name", ["shapes", "counts"])
def test_nobody_denies_or_leaves_out_what_passes_for_another(name):
    """Who may call a square a rectangle and teal green or blue answers every question alike."""
    checked = Counter()
    for seed in range(300):
        scene = drawn(name, seed)
        for question in (qa.question.lower().rstrip("?.") for qa in scene.qa if qa.question):
            for part in spoken_of(question):
                strict, loose = (
                    {mark for one in part.split(" or ") for mark in which(scene, one)}
                    for which in (marked, passing)
                )
                there = re.match(r"(is|are) there (a|an|any|no)\b|is no|can|do|does|is an? ", question)
                same = bool(strict) == bool(loose) if there else strict == loose
                assert same, (scene.id, question)
                checked["there" if there else "which"] += 1
            if re.search(
                "different|the same|most common|what colou?rs (do|are) (you|there|the sh)", question
            ):
                place = 0 if re.search("colou?r", question) else 1
                found = {mark.words[place].strip() for mark in scene.marks}
                assert not any(NEAR.get(one, set()) & found for one in found), (scene.id, question)
                checked["different"] += 1
    assert min(checked.values()) > 20


def test_two_objects_in_teal_are_not_told_to_be_of_one_color():
    """One may look green and the other blue; two squares are squares to everybody."""
    square = Shape("square", "teal", (0, 150, 130), 70, 128, 30, 0, 1)
    scene = (square, replace(square, rgb=(0, 130, 150), x=180))
    told = [shape_questions._countable(random.Random(seed), scene) for seed in range(400)]
    assert {number for things, number in told if things == "different colors"} == {None}
    assert {number for things, number in told if things == "different kinds of shapes"} == {1}
    alike = [qa.question for seed in range(40) if (qa := shape_relations._alike(random.Random(seed), scene))]
    assert set(alike) == {"Do all the objects have the same shape?"}


def test_nobody_denies_that_a_teal_icon_is_green_or_blue():
    teal = 0
    for seed in range(1500):
        _, asked_of_it, mark = flat_shape.draw(random.Random(seed))
        if mark.words[0] == " teal":
            teal += 1
            assert not any({"green", "blue"} & named(qa.question) for qa in asked_of_it), seed
    assert teal > 100


def test_british_and_american_spelling_and_typing():
    questions = [qa.question for seed in range(200) for qa in drawn("shapes", seed).qa if qa.question]
    share = {
        word: sum(word in text.lower() for text in questions) / len(questions) for word in ("color", "colour")
    }
    assert share["color"] > share["colour"] > 0.02
    assert 0.05 < sum(text[0].islower() for text in questions) / len(questions) < 0.25


def test_places_of_two_objects_against_the_marks():
    """Relations are common, true, and asked only of offsets that nobody overlooks."""
    checked = 0
    sides = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1), "under": (1, 1)}
    for scene, question, answers in asked():
        either = re.fullmatch(
            r"is the (.+?) (?:to the )?(left or right of|above or below) the (.+)", question
        )
        plain = re.fullmatch(
            r"is the (.+?) (?:to the )?(left of|right of|above|below|under) the (.+)", question
        )
        if not (match := either or plain):
            continue
        (a,), (b,) = marked(scene, match[1]), marked(scene, match[3])
        axis, sign = sides[answers[0] if either else match[2].removesuffix(" of")]
        offset = ((a.x - b.x) * 256, (a.y - b.y) * 256)
        assert abs(offset[axis]) > max(22, 0.4 * abs(offset[1 - axis])), (scene.id, question)
        assert (offset[axis] * sign > 0) == (answers[0] != "no"), (scene.id, question)
        checked += 1
    assert checked > 100


def test_the_one_on_a_side_against_the_marks():
    """What is on the left of the picture, or of another object: the only one there."""
    axes = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
    axes |= {"above": axes["top"], "below": axes["bottom"]}
    checked = 0
    for scene, question, answers in asked():
        match = re.fullmatch(
            r"(?:what|which shape|what shape|what do you see)(?: is)? (?:on|at|to)? ?(?:the )?"
            r"(left|right|top|bottom|above|below)(?: of)?(?: the (.+))?",
            question,
        )
        if not match:
            continue
        axis, sign = axes[match[1]]
        middle = marked(scene, match[2])[0][1 + axis] if match[2] else 0.5
        there = [mark for mark in scene.marks if (mark[1 + axis] - middle) * sign < 0]
        if match[2] or len(scene.marks) > 2:
            assert len(there) == 1, (scene.id, question)
        first = min(scene.marks, key=lambda mark: mark[1 + axis] * sign) if not match[2] else there[0]
        assert answers[0] == first.words[1].strip(), (scene.id, question)
        checked += 1
    assert checked > 15


def test_where_a_shape_is_against_its_mark():
    checked = 0
    for scene, question, answers in asked():
        match = re.fullmatch(r"where (?:in the image )?is the (.+)", question)
        if not match:
            continue
        mark = marked(scene, match[1])[0]
        assert min(abs(at * 256 - cut) for at in (mark.x, mark.y) for cut in (95, 161)) >= 12, scene.id
        across, down = ((at * 256 > 95) + (at * 256 > 161) for at in (mark.x, mark.y))
        words = (("top", "", "bottom")[down], ("left", "", "right")[across])
        assert answers[0] == (" ".join(filter(None, words)) or "center")
        if all(words):
            upper = f"{'upper' if down == 0 else 'lower'} {words[1]}"
            assert {upper, f"{answers[0]} corner", f"in the {upper} corner"} <= set(answers)
        checked += 1
    assert checked > 20


def test_the_largest_covers_the_most_pixels():
    found = 0
    for seed in range(60):
        rng = random.Random(seed)
        _, objects, _, _ = shapes.drawing(rng, ("scatter",), apart=True)
        covered = {shape.kind: pixels(shape) for shape in objects}
        for asker in (shape_relations._extreme, shape_pairs._choice):
            qa = asker(rng, objects)
            match = qa and re.search("largest|biggest|larger|bigger|smallest|smaller", qa.question)
            if not match:
                continue
            few = match[0].startswith("small")
            two = re.search(r", the (.+) or the (.+)\?", qa.question)
            wanted = [named(text) for text in two.groups()] if two else [set()]
            rivals = [kind for kind in covered if any(words <= set(kind.split()) for words in wanted)]
            told = [kind for kind in rivals if named(qa.answers[0]) <= set(kind.split())]
            best = (min if few else max)(told, key=covered.get)
            others = [covered[kind] for kind in rivals if kind != best]
            assert all((n > 1.2 * covered[best]) if few else (covered[best] > 1.2 * n) for n in others), qa
            found += 1
    assert found > 20


def test_a_long_thin_shape_is_not_larger_than_a_wide_one():
    """By area the oval is the smaller of the two, by length the larger: nothing is asked of their sizes."""
    oval = Shape("oval", "red", (255, 0, 0), 70, 128, 55, 0, 0.45)
    circle = Shape("circle", "blue", (0, 0, 255), 190, 128, 40, 0, 1)
    wide = Shape("circle", "green", (0, 255, 0), 190, 128, 90, 0, 1)
    star = Shape("star", "yellow", (255, 255, 0), 70, 128, 50, 0, 1)
    for pair, told in (((oval, circle), False), ((star, circle), False), ((circle, wide), True)):
        found = [qa for seed in range(40) if (qa := shape_relations._extreme(random.Random(seed), pair))]
        assert bool(found) == told
        named = {qa.answers[0] for qa in found if "largest" in qa.question or "biggest" in qa.question}
        assert named <= {"green", "circle"}
        for ask in (shape_pairs._relation, shape_pairs._choice):
            questions = [ask(random.Random(seed), pair).question for seed in range(60)]
            assert bool(re.search("bigger|larger|smaller", " ".join(questions))) == told


def test_answers_take_every_name():
    """Whatever is asked, a colour or form is accepted in all its words, in every drawing alike."""
    also = {"gray": "grey", "teal": "turquoise", "oval": "ellipse", "diamond": "rhombus", "cross": "plus"}
    met = Counter()
    flat = [qa for seed in range(40) for qa in flat_shape.draw(random.Random(seed))[1]]
    drawings = [qa for seed in range(250) for qa in drawn("shapes", seed).qa]
    for qa in [*flat, *drawings, *(qa for seed in range(40) for qa in drawn("scenes", seed).qa)]:
        if qa.answers[0] in also and qa.task == "vqa":
            assert also[qa.answers[0]] in qa.answers, qa
            met[qa.answers[0]] += 1
    assert set(met) == set(also)
    assert not any(re.search(r"there not|does.* not ", qa.question.lower()) for qa in drawings if qa.question)
    assert any("there not" in qa.question for qa in flat)


def test_a_ground_with_a_color_is_not_counted_with_the_shapes():
    questions = [question for _, question, _ in asked() if re.search(r"different colou?rs", question)]
    assert len(questions) > 10
    assert all(re.search("shapes|objects", question) for question in questions)


def test_rows_are_large_enough_to_tell_forms_apart():
    for seed in range(60):
        _, objects, _, _ = shapes.drawing(random.Random(seed), ("row", "column"))
        assert min(shape.radius for shape in objects) >= 10


@pytest.mark.parametrize(
    "wording",
    [
        "what colou?r is it",
        "what is (on|at) the (left|right|top|bottom)",
        r"what('s| is| are)?.* colou?r.* (circles|squares|triangles|stars|ovals|hearts)",
        "what colou?rs (do|are) .*",
        r"how many (shapes|objects) .*in total",
        r"how many (shapes |objects |of them )?are not \w+",
        r"how many (shapes |objects |of them )?are \w+ or \w+",
        r"are there exactly \w+ .+",
        r"what's the colou?r of the .+",
        r"which is (bigger|larger|smaller), the .+ or the .+",
        "what is next to the .+",
        r"(what|which).* between the .+ and the .+",
    ],
)
def test_what_people_ask_is_asked(wording):
    assert any(re.fullmatch(wording, question) for _, question, _ in asked())
