"""COCO's mAP: by hand, and against a direct transcription of its rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idse.errors import InputError
from idse.evaluation.average_precision import (
    IOU_THRESHOLDS,
    confident,
    match,
    mean_average_precision,
)
from idse.vision.heads import Detections, iou_matrix

pytestmark = pytest.mark.fast


def boxes(*rows):
    """Rows of left, top, right, bottom, class, score."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32), table[:, 5].astype(np.float32), table[:, 4].astype(int)
    )


def test_average_precision_by_hand():
    truth = boxes((0, 0, 10, 10, 7, 1), (20, 0, 30, 10, 7, 1))
    # Found exactly; a false alarm; found with IoU 0.8: a hit at the seven thresholds .5 to .8.
    found = boxes((0, 0, 10, 10, 7, 0.9), (50, 50, 60, 60, 7, 0.8), (20, 0, 30, 8, 7, 0.7))
    # With both: precision 1 up to recall 0.5 (51 points), then 2/3 (50 points). Else 1 and 0.
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    result = mean_average_precision([match(truth, found)])
    assert result == pytest.approx([(7 * both + 3 * one) / 10])


def test_a_box_is_found_once_and_by_its_own_class_only():
    truth = boxes((0, 0, 10, 10, 1, 1))
    found = boxes((0, 0, 10, 10, 1, 0.25), (0, 0, 10, 10, 1, 0.5), (0, 0, 10, 10, 2, 0.75))
    hits = match(truth, found)
    assert hits.scores.tolist() == [0.75, 0.5, 0.25]
    assert hits.hits[0].tolist() == [False, True, False]


def test_the_best_box_is_taken_and_of_equals_the_later():
    truth = boxes((0, 0, 10, 10, 1, 1), (0, 2, 10, 12, 1, 1), (0, 2, 10, 12, 1, 1))
    found = boxes((0, 2, 10, 12, 1, 0.9), (0, 1, 10, 11, 1, 0.8))
    # The first takes an exact box; the second overlaps all three alike (IoU 9/11) and takes one.
    hits = match(truth, found).hits
    assert hits[:, 0].all()
    assert hits[:, 1].tolist() == (IOU_THRESHOLDS <= 9 / 11).tolist()


def test_detections_past_a_hundred_of_a_class_do_not_count():
    truth = boxes((0, 0, 10, 10, 1, 1), (0, 0, 10, 10, 2, 1))
    noise = [(50, 50, 60, 60, 1, 0.9 - i / 1000) for i in range(100)]
    found = boxes(*noise, (0, 0, 10, 10, 1, 0.1), (0, 0, 10, 10, 2, 0.1))
    assert len(match(truth, found).classes) == 101
    assert mean_average_precision([match(truth, found)]) == pytest.approx([0.5])


def test_degenerate_sets():
    none, one = boxes(), boxes((0, 0, 10, 10, 1, 1))
    assert np.isnan(mean_average_precision([]))
    assert np.isnan(mean_average_precision([match(none, one)]))
    assert mean_average_precision([match(one, none)]) == [0]
    assert mean_average_precision([match(one, one)]) == [1]
    with pytest.raises(InputError, match="do not fit 1 pictures"):
        mean_average_precision([match(one, one)], np.ones((3, 2)))


def test_confident_keeps_the_score_itself():
    kept = confident(boxes((0, 0, 1, 1, 1, 0.25), (0, 0, 1, 1, 2, 0.24)))
    assert kept.classes.tolist() == [1]


def reference(pairs):
    """AP@[.5:.95] by the book: one loop per rule."""
    results = []
    for label in sorted({int(c) for truth, _ in pairs for c in truth.classes}):
        for threshold in IOU_THRESHOLDS:
            events, positives = [], 0
            for truth, found in pairs:
                gt = [b for b, c in zip(truth.boxes, truth.classes, strict=True) if c == label]
                positives += len(gt)
                mine = [
                    i for i in np.argsort(-found.scores, kind="stable") if found.classes[i] == label
                ][:100]
                taken = set()
                for i in mine:
                    best, chosen = threshold, None
                    for g, box in enumerate(gt):
                        iou = iou_matrix(found.boxes[i][None], box[None])[0, 0]
                        if g not in taken and iou >= best:
                            best, chosen = iou, g
                    taken.add(chosen)
                    events.append((found.scores[i], chosen is not None))
            events.sort(key=lambda event: -event[0])
            hits = np.cumsum([hit for _, hit in events])
            curve = [(int(h), h / (n + 1)) for n, h in enumerate(hits)]
            points = [
                max((p for h, p in curve if 100 * h >= r * positives), default=0.0)
                for r in range(101)
            ]
            results.append(np.mean(points))
    return np.mean(results) if results else np.nan


@st.composite
def picture_sets(draw):
    # No two detections share a score: the order of ties is no rule of the metric.
    scores = iter(np.random.default_rng(draw(st.integers(0, 99))).permutation(64) / 64)
    box = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(4, 8)] * 2, st.integers(0, 1))
    some = st.lists(box, max_size=4)

    def make(rows, score):
        return boxes(*((x, y, x + w, y + h, label, score()) for x, y, w, h, label in rows))

    sizes = range(draw(st.integers(1, 4)))
    return [(make(draw(some), lambda: 1), make(draw(some), lambda: next(scores))) for _ in sizes]


@settings(max_examples=40, deadline=None)
@given(pairs=picture_sets(), counts=st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_any_set_and_any_resample_agree_with_the_rules_spelled_out(pairs, counts):
    weights = np.array([[1] * len(pairs), counts[: len(pairs)]])
    result = mean_average_precision([match(*pair) for pair in pairs], weights)
    copies = [pair for pair, n in zip(pairs, weights[1], strict=True) for _ in range(n)]
    np.testing.assert_allclose(result, [reference(pairs), reference(copies)], atol=1e-12)
