"""Boxes: F1 by hand, answers as the detector gives them, targets that follow a shift or are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, DataError, Detection, ModelError, Shift, rng
from robustest.shifts import follow_targets
from robustest.tasks import DetrDetector, MaiteDetector, Task, TorchvisionDetector, detection

sys.path.insert(0, str(Path(__file__).parents[2]))
import detections

TASK = Detection(TorchvisionDetector(3), floor=0.7, most=6)
NOTHING = [0.0, 0, 0, 0, -1, 0]


def random_lists(n: int, seed: int, kinds: int = 2) -> Tensor:
    """Lists (n, 6, 6) of boxes on a coarse grid, so that many of them meet, with rows without a box at the end."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 4, (n, 6, 2), generator=generator) * 3.0
    size = torch.randint(2, 5, (n, 6, 2), generator=generator) * 3.0
    kind = torch.randint(0, kinds, (n, 6, 1), generator=generator).float()
    sure = torch.rand(n, 6, 1, generator=generator).sort(1, descending=True).values
    lists = torch.cat([corner, corner + size, kind, sure], 2)
    lists[torch.arange(6).expand(n, 6) >= torch.randint(0, 7, (n, 1), generator=generator)] = torch.tensor(NOTHING)
    return lists


def by_hand(said: list[list[float]], y: list[list[float]]) -> float:
    """F1 of one image at an IoU of 0.5, box by box."""

    def area(box: list[float]) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    def shared(a: list[float], b: list[float]) -> float:
        both = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
        return both / (area(a) + area(b) - both)

    free, found, false = [t for t in y if t[4] >= 0], 0, 0
    targets = len(free)
    for answer in (s for s in said if s[4] >= 0):
        meets = [(shared(answer, t), -at) for at, t in enumerate(free) if t[4] == answer[4]]
        best = max(meets, default=(0.0, 0))
        if best[0] >= 0.5:
            free.pop(-best[1])
            found += 1
        else:
            false += 1
    total = targets + found + false
    return 2 * found / total if total else 1.0


def test_f1_is_that_of_boxes_matched_one_by_one() -> None:
    said, y = random_lists(300, 0), random_lists(300, 1)
    score = TASK.agreement(said, y)
    assert score.tolist() == pytest.approx([by_hand(a, b) for a, b in zip(said.tolist(), y.tolist(), strict=True)])
    assert 0 < float(score.mean()) < 1


def test_a_second_answer_on_a_found_target_is_false_and_one_on_an_ignored_target_is_not_counted() -> None:
    box = [0.0, 0, 10, 10]
    y = torch.tensor([[[*box, 0, 1], [20, 20, 40, 40, detection.IGNORED, 1]]])
    twice = torch.tensor([[[*box, 0, 0.9], [*box, 0, 0.8], [22, 22, 30, 30, 1, 0.7]]])
    assert [int(count) for count in detection.matched(twice, y, 0.5)] == [1, 0, 1]
    empty = torch.tensor([[NOTHING]])
    assert float(detection.f1(empty, y[:, 1:], 0.5)) == 1  # nothing to find, nothing said
    assert float(detection.f1(empty, y, 0.5)) == 0


def test_an_answer_counts_from_the_confidence_on() -> None:
    rows = torch.zeros(1, 3, 7)
    rows[0, 0] = torch.tensor([0, 0, 10, 10, 0.2, 0.6, 0.1])
    rows[0, 1] = torch.tensor([5, 5, 10, 10, 0.49, 0.4, 0.1])
    said = TASK.predictions(rows)[0]
    assert said.shape == (6, 6)
    assert said[0].tolist() == pytest.approx([0, 0, 10, 10, 1, 0.6])
    assert bool((said[1:, 4] == -1).all())


def drawn_rows(n: int = 60) -> tuple[Tensor, Tensor]:
    """Rows (n, 8, 7) near targets (n, 6, 6), in float64, of which some hold."""
    generator = torch.Generator().manual_seed(2)
    y = TASK.targets([{"boxes": torch.tensor([[2.0, 2, 12, 12], [15, 4, 25, 16]]), "labels": torch.tensor([0, 2])}] * n)
    rows = torch.rand(n, 8, 7, generator=generator, dtype=torch.float64) * 0.9
    rows[..., :4] = torch.tensor([30.0, 30, 38, 38])
    rows[:, :2, :4] = y[:, :2, :4].double() + torch.randn(n, 2, 4, generator=generator)
    rows[:, 2:, 4:] *= torch.linspace(0.4, 1.0, n).view(-1, 1, 1)
    rows[:, 0, 4], rows[:, 1, 6] = 0.93, 0.94
    rows[::7, 0, 4] = 0.1
    return rows, y


def test_the_margin_is_positive_just_where_the_answer_holds_and_falls_along_each_loss() -> None:
    rows, y = drawn_rows()
    holds = TASK.holds(rows, y)
    assert 0 < int(holds.sum()) < len(y)
    assert torch.equal(TASK.margin(rows, y) > 0, holds)
    for name, loss in TASK.losses.items():
        leaf = rows.clone().requires_grad_(True)
        values = loss(leaf, y)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
        assert values.shape == (len(y),)
        worse = rows + 0.02 * slope.sign()
        worse[..., 4:].clamp_(min=0)  # scores; a box may begin outside of the image
        assert bool((loss(worse, y) > values).all()), name
        assert float(TASK.score(worse, y).mean()) <= float(TASK.score(rows, y).mean()), name
    several = torch.stack([rows, rows.flip(0)], 1)
    for judge in (TASK.holds, TASK.margin, TASK.score, *TASK.losses.values()):
        torch.testing.assert_close(judge(several, y)[:, 1], judge(rows.flip(0), y))
    assert isinstance(TASK, Task)


def test_boxes_follow_a_shift_along_the_axes_to_the_pixel() -> None:
    x, given = detections.drawn(8, seed=0)
    task = Detection(TorchvisionDetector(2), most=4)
    y, key = task.targets(given), rng.keys(0, torch.arange(8))
    for name in ("translation", "scale", "crop"):
        shift = Shift(name, 3)
        moved = follow_targets(task, shift, x, y, key)
        filled = torch.zeros(8, 2, detections.SIDE, detections.SIDE)
        for row, kind in ((r, k) for r in range(8) for k in range(2)):
            left, top, right, bottom = (int(v) for v in y[row, kind, :4])
            filled[row, kind, top:bottom, left:right] = 1
        seen = shift.apply(filled, key, (0.0, 1.0)) > 0.5
        assert not torch.equal(moved, y), name
        for row, kind in ((r, k) for r in range(8) for k in range(2) if bool(seen[r, k].any())):
            at = seen[row, kind].nonzero()
            edges = torch.cat([at.amin(0).flip(0), at.amax(0).flip(0) + 1]).float()
            assert float((edges - moved[row, kind, :4]).abs().max()) <= 1.01, name


@pytest.mark.parametrize("name", ["rotation", "shear", "perspective", "elastic_transform"])
def test_shifts_that_turn_or_bend_boxes_are_refused(name: str) -> None:
    x, given = detections.drawn(8, seed=0)
    task = Detection(TorchvisionDetector(2))
    with pytest.raises(ConfigError, match="turns or bends"):
        follow_targets(task, Shift(name, 2), x, task.targets(given), rng.keys(0, torch.arange(8)))


def test_a_box_that_leaves_the_image_is_ignored_and_then_gone() -> None:
    y = Detection(TorchvisionDetector(2), most=1).targets([{"boxes": torch.tensor([[0.0, 0, 8, 8]]), "labels": [1]}])
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for by, kind in ((2, 1), (6, detection.IGNORED), (9, detection.NONE)):
        source = torch.stack([row, column + by])[None]  # the image goes left
        after, fit = detection.moved_boxes(y, source, source[:, 1] < 32)
        assert bool(fit.all())
        assert int(after[0, 0, 4]) == kind
        if kind != detection.NONE:
            assert after[0, 0, :4].tolist() == pytest.approx([0, 0, 8 - by, 8])


def test_what_is_no_detection_is_refused() -> None:
    with pytest.raises(ConfigError, match="an adapter such as"):
        Detection(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="confidence in"):
        Detection(TorchvisionDetector(2), confidence=1.0)
    with pytest.raises(DataError, match="with an area"):
        TASK.targets([{"boxes": [[5.0, 5, 5, 9]], "labels": [0]}])
    with pytest.raises(DataError, match="Pass most="):
        TASK.targets([{"boxes": [[0.0, 0, 5, 9]] * 7, "labels": [0] * 7}])
    with pytest.raises(DataError, match=r"labels in 0\.\.2"):
        TASK.check_targets(TASK.targets([{"boxes": [[0.0, 0, 5, 9]], "labels": [3]}]), 8)
    with pytest.raises(ConfigError, match="score_thresh"):
        TASK.adapter.check(torch.nn.Flatten(), 0.5)
    with pytest.raises(ConfigError, match=r"Pass confidence=0\.05"):
        TASK.adapter.check(detections.detector(), 0.01)
    x, answer = torch.rand(1, 3, 8, 8), SimpleNamespace(boxes=[[0.0, 0, 5, 9]] * 3, labels=[0] * 3, scores=[0.9] * 3)
    with pytest.raises(ModelError, match="Pass rows=3"):
        MaiteDetector(2, rows=2).answers(lambda _: [answer], x)
    assert MaiteDetector(2, rows=4).answers(lambda _: [answer], x).shape == (1, 4, 6)


def test_answers_of_detr_are_boxes_in_pixels_with_a_gradient() -> None:
    x = torch.zeros(2, 3, 20, 40, requires_grad=True)
    logits = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 0.0, 9.0]]]).expand(2, -1, -1)
    places = torch.tensor([[[0.5, 0.5, 0.5, 0.2], [0.1, 0.1, 0.2, 0.2]]]).expand(2, -1, -1)

    def detr(images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=logits + images.mean(), pred_boxes=places)

    rows = DetrDetector(2).answers(detr, x)
    torch.testing.assert_close(rows[1, 0, :4], torch.tensor([10.0, 8, 30, 12]))
    torch.testing.assert_close(rows[0, :, 4:], logits[0].softmax(1)[:, :2])
    assert rows.requires_grad
    torch.testing.assert_close(DetrDetector(3, no_object=False).answers(detr, x)[0, :, 4:], logits[0].sigmoid())
    with pytest.raises(ModelError, match="classes=2"):
        DetrDetector(91).answers(detr, x)
    with pytest.raises(ModelError, match="TorchvisionDetector"):
        DetrDetector(2).answers(lambda _: [{}], x)


def test_answers_and_targets_of_supervision_and_ultralytics_are_read_by_their_names() -> None:
    boxes, labels, scores = torch.tensor([[1.0, 2, 8, 9]]), torch.tensor([1]), torch.tensor([0.7])
    x = torch.zeros(1, 3, 10, 10)
    expected = MaiteDetector(2, rows=3).answers(lambda _: [{"boxes": boxes, "labels": labels, "scores": scores}], x)
    supervised = SimpleNamespace(xyxy=boxes.numpy(), class_id=labels.numpy(), confidence=scores.numpy(), mask=None)
    ultralytics = SimpleNamespace(boxes=SimpleNamespace(xyxy=boxes, cls=labels.float(), conf=scores))
    for answer in (supervised, ultralytics):
        assert torch.equal(MaiteDetector(2, rows=3).answers(lambda _, one=answer: [one], x), expected)
        assert TASK.targets([answer])[0, 0].tolist() == [1, 2, 8, 9, 1, 1]


def test_answers_that_differ_by_rounding_agree_and_others_do_not() -> None:
    ranked = Detection(MaiteDetector(2), score_by="ap", most=3, floor=0.75)
    one = torch.tensor([[[2.0, 2, 12, 12, 0, 0.9], [20, 2, 30, 12, 1, 0.8], [0, 0, 0, 0, -1, 0]]])
    rounded = one + torch.tensor([0.6, -0.6, 0.6, 0.6, 0, 0.01])
    unsure = torch.cat([one[:, :2], torch.tensor([[[5.0, 5, 25, 25, 1, 0.2]]])], 1)
    other = one.clone()
    other[:, 0, :4] += 8
    lost = one[:, [2, 2, 2]]
    was = ranked.as_targets(one)
    agree = [float(ranked.agreement(now, was)) for now in (one, rounded, unsure, other, lost)]
    assert agree == [1, 1, 1, 0.5, 0]
    assert [bool(ranked.right(now, was)) for now in (one, rounded, other)] == [True, False, False]
