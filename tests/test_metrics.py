"""Metrics against hand-computed numbers; CIDEr-D and BLEU against the reference implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu

from smola_demo import metrics
from smola_demo.caption_metrics import bleu4, cider_d, tokens
from smola_demo.metrics import MetricError, bootstrap_ci, score
from smola_demo.tasks import TASKS, TaskError

DOG = ["a dog runs on grass", "the dog is running"]
BIKE = ["a man rides a bicycle", "a person on a bike"]


def test_tokens():
    text = "The dog\u2019s tri-colored ball isn't here, e.g. 3.5 m!"
    assert tokens(text) == ["the", "dog", "'s", "tri-colored", "ball", "is", "n't", "here", "e.g", "3.5", "m"]
    assert tokens(" ... ") == []


def test_cider_d_by_hand():
    """Two pictures, one word each: the word's weight is log 2, and of the four orders one matches: 10 / 4."""
    assert cider_d(["dog", "cat"], [["dog"], ["cat"]]) == pytest.approx([2.5, 2.5])
    # "dog cat": unigram vector (log 2, log 2) against (log 2, 0): cosine 1/√2; one 2-gram more: exp(-1/72).
    expected = 2.5 / math.sqrt(2) * math.exp(-1 / 72)
    assert cider_d(["dog cat", "cat"], [["dog"], ["cat"]])[0] == pytest.approx(expected)


def test_cider_d_clips_repeated_words():
    """min(2, 1)·1 over √4·1: saying it twice halves the cosine's gain, before the length penalty."""
    once, twice = (cider_d([text, "cat"], [["dog"], ["cat"]])[0] for text in ("dog", "dog dog"))
    assert twice == pytest.approx(once / 2 * math.exp(-1 / 72))


def test_cider_d_as_the_reference_implementation_gives_it():
    """Numbers printed by pycocoevalcap 1.2 (CiderScorer, n=4, sigma=6) on these captions."""
    scores = cider_d(["a dog runs on the grass", "a man rides a bike"], [DOG, BIKE])
    assert scores == pytest.approx([3.70079039, 4.05197703], abs=1e-8)


def test_cider_d_of_an_equal_long_caption_is_ten():
    texts = ["a dog runs on grass", "two men ride red bikes"]
    assert cider_d(texts, [[text] for text in texts]) == pytest.approx([10.0, 10.0])


def test_cider_d_of_nothing_and_of_one_picture():
    assert cider_d(["", "?"], [DOG, BIKE]).tolist() == [0.0, 0.0]
    assert cider_d(["a dog runs on grass"], [DOG]).tolist() == [0.0]


def test_cider_d_does_not_depend_on_the_order_of_rows():
    forward = cider_d(["a dog runs", "a man on a bike"], [DOG, BIKE])
    backward = cider_d(["a man on a bike", "a dog runs"], [BIKE, DOG])
    assert forward == pytest.approx(backward[::-1])


def test_bleu_by_hand():
    """5 of 5, 3 of 4, 2 of 3 and 1 of 2 n-grams; closest reference length 5, no brevity penalty."""
    value = bleu4(["the black cat sat down"], [["black cat sat down the", "a dog"]])
    assert value == pytest.approx((1.0 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_brevity():
    assert bleu4(["a b c d"], [["a b c d e f"]]) == pytest.approx(math.exp(1 - 6 / 4))
    assert bleu4(["x"], [["a b"]]) == 0.0
    assert bleu4([""], [["a b"]]) == 0.0


def test_bleu_equals_sacrebleu():
    rng = np.random.default_rng(0)
    words = ["a", "dog", "man", "on", "the", "grass", "runs", "rides"]
    guesses = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(60)]
    refs = [[" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(3)] for _ in guesses]
    streams = [[row[i] for row in refs] for i in range(3)]
    theirs = (
        sacrebleu.corpus_bleu(guesses, streams, tokenize="none", smooth_method="none", force=True).score / 100
    )
    assert bleu4(guesses, refs) == pytest.approx(theirs, rel=1e-9)
    assert theirs > 0.01


@pytest.mark.parametrize(("text", "normal"), [
    ("The Red chair.", "red chair"),
    ("two", "2"),
    ("None", "0"),
    ("dont", "don't"),
    ("can\u2019t", "can't"),
    ("its", "its"),
    ("t-shirt", "t shirt"),
    ("book, papers", "book papers"),
    ("1,000", "1000"),
    ("3.5 m", "3.5 m"),
    ("a an the", ""),
    ("black/white", "black white"),
    ("  yes \n", "yes"),
])  # fmt: skip
def test_vqa_normal_form(text, normal):
    assert metrics.normalize_vqa(text) == normal


def test_vqa_accepts_any_reference():
    assert metrics.vqa_accuracy("A Lamp.", ["table", "lamp"]) == 1.0
    assert metrics.vqa_accuracy("lamps", ["table", "lamp"]) == 0.0
    assert metrics.vqa_accuracy("", ["lamp"]) == metrics.vqa_accuracy(" ", ["A"]) == 0.0
    assert metrics.vqa_accuracy("a", ["A"]) == 1.0


@pytest.mark.parametrize(("text", "number"), [
    ("3", 3), ("Three.", 3), ("2 dogs", 2), ("there are no dogs", 0), ("none", 0), ("twelve", 12),
    ("1,024", 1024), ("1 or 2", None), ("many", None), ("", None), ("2.5", None), ("three (3)", 3),
])  # fmt: skip
def test_counts(text, number):
    assert metrics.parse_count(text) == number


def test_count_accuracy():
    assert metrics.count_accuracy("two", ["2"]) == 1.0
    assert metrics.count_accuracy("3", ["2", "three"]) == 1.0
    assert metrics.count_accuracy("many", ["many"]) == 0.0


@pytest.mark.parametrize(("prediction", "reference", "right"), [
    ("105", "100", True),
    ("94.9", "100", False),
    ("106", "100", False),
    ("39", "39%", True),
    ("39 %", "39", True),
    ("0.39", "39%", False),
    ("$1,050.", "1000", True),
    ("-5", "5", False),
    ("0", "0", True),
    ("0.01", "0", False),
    ("five", "5", True),
    ("Poland", "poland", True),
    ("Polen", "Poland", False),
    ("", "0", False),
    ("-", "5", False),
    (".5", "0.5", True),
    ("1,05", "105", False),
    ("none", "None", True),
    ("0", "None", False),
    ("zero", "None", False),
    ("0%", "None", False),
])  # fmt: skip
def test_relaxed_accuracy(prediction, reference, right):
    assert metrics.relaxed_accuracy(prediction, [reference]) == float(right)


@pytest.mark.parametrize(("prediction", "reference", "right"), [
    ("2014", "2023", False), ("2023", "2023", True), (" 2023. ", "2023", True), ("2014", "2,023", True),
    ("1999", "2023.0", True), ("1800", "1850", True), ("2050", "2150", True),
])  # fmt: skip
def test_another_year_is_not_nearly_right(prediction, reference, right):
    assert metrics.relaxed_accuracy(prediction, [reference]) == float(right)


@pytest.mark.parametrize(("prediction", "references", "value"), [
    ("Hello", ["hello"], 1.0),
    ("hallo", ["hello"], 0.8),
    ("he", ["hello"], 0.0),  # 3 of 5 wrong: below the threshold
    ("hel", ["hello"], 0.6),
    ("abcd", ["abxy"], 0.0),  # exactly half wrong counts as wrong
    ("a  b\nc", ["A B C"], 1.0),
    ("xyz", ["hello", "xya"], 2 / 3),
    ("", ["a"], 0.0),
])  # fmt: skip
def test_anls(prediction, references, value):
    assert metrics.anls(prediction, references) == pytest.approx(value)


def test_character_error_rate():
    """kitten → sitting needs 3 edits of 7 characters; the second row is right."""
    assert metrics.character_error_rate(["kitten", "ok!"], [["Sitting"], ["no", "OK!"]]) == pytest.approx(
        3 / 10
    )
    assert metrics.character_error_rate(["abcdef"], [["x"]]) == pytest.approx(6.0)


def test_bootstrap_matches_the_normal_interval():
    """300 rows of a fair coin: mean ± 1.96 · s/√n, to the noise of 1,000 resamples."""
    values = np.random.default_rng(1).integers(0, 2, 300)
    half = 1.96 * values.std() / math.sqrt(300)
    low, high = bootstrap_ci(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)
    assert bootstrap_ci(values) == (low, high)
    assert bootstrap_ci(values, seed=5) != (low, high)
    assert bootstrap_ci([0.25]) == (0.25, 0.25)


def test_rows_of_one_picture_are_drawn_together():
    """Every row told three times says no more than once: the interval is that of 100 rows, not of 300."""
    values = np.random.default_rng(2).integers(0, 2, 100)
    half = 1.96 * values.std() / math.sqrt(100)
    low, high = bootstrap_ci(np.repeat(values, 3), samples=4000, pictures=np.repeat(range(100), 3).tolist())
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    alone = bootstrap_ci(values, pictures=[f"{i}.png" for i in range(100)])
    assert alone == bootstrap_ci(values), "a picture a row is a row a row"
    with pytest.raises(MetricError, match="100 values but 2 pictures"):
        bootstrap_ci(values, pictures=["a", "b"])


def test_score_of_each_task():
    for task in TASKS:
        answers = ["5 red dogs", "5 red cats"]
        result = score(task, answers, [[text, "7 other"] for text in answers])
        assert set(result) == {"metric", "value", "ci95", "n", "extra"}
        assert result["metric"] == TASKS[task].metric
        assert result["n"] == 2
        assert result["value"] > 0.9
        low, high = result["ci95"]
        assert low <= result["value"] <= high


def test_score_of_a_mixed_row():
    result = score("read", ["EXIT", "hallo", "zz"], [["exit"], ["hello"], ["word"]])
    assert result["value"] == pytest.approx((1 + 0.8 + 0) / 3)
    assert result["extra"] == {"cer": pytest.approx((0 + 1 + 4) / 13), "exact": pytest.approx(1 / 3)}
    captions = score("caption", ["a dog runs on the grass", "a man rides a bike"], [DOG, BIKE])
    assert captions["value"] == pytest.approx(3.876383709)
    assert captions["extra"]["bleu4"] == pytest.approx(0.6493358309501979)
    assert captions["extra"]["mean_words"] == 5.5
    chart = score("chart", ["103", "Poland"], [["100"], ["Poland"]])
    assert (chart["value"], chart["extra"]["exact"]) == (1.0, 0.5)


def test_what_cannot_be_scored():
    with pytest.raises(MetricError, match="no answer to judge"):
        score("vqa", [], [])
    with pytest.raises(MetricError, match="2 answers but 1 rows"):
        score("vqa", ["a", "b"], [["a"]])
    with pytest.raises(MetricError, match="no reference"):
        score("vqa", ["a"], [[]])
    with pytest.raises(TaskError, match="no task"):
        score("sing", ["a"], [["a"]])
