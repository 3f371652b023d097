"""Tasks whose answers are right in part: scores by hand, margins that say what holds, losses that bring them down."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Classification, ConfigError, DataError, ModelError, MultiLabel, Regression, Segmentation
from robustest.tasks import CLASSIFICATION, Sided, Task, WorstScore, checked_task

MASKS = torch.tensor([[[0, 1], [2, 255]], [[1, 1], [0, 2]]])


def said(*masks: list[list[int]]) -> Tensor:
    """Logits (N, 3, 2, 2) of these answers."""
    return 4.0 * torch.nn.functional.one_hot(torch.tensor(masks), 3).movedim(-1, 1)


def drawn(task: Task, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Outputs and targets of which about half hold, the outputs in float64."""
    generator = torch.Generator().manual_seed(3)
    if isinstance(task, Segmentation):
        y = torch.randint(0, 3, (rows, 6, 5), generator=generator)
        y[:, 0, 0] = 255
        hot = torch.nn.functional.one_hot(y.clamp(max=2), 3).movedim(-1, 1)
        far = torch.linspace(0.2, 4, rows, dtype=torch.float64).view(-1, 1, 1, 1)
        return far * hot + torch.randn(rows, 3, 6, 5, generator=generator, dtype=torch.float64), y
    y = torch.randn(rows, 4, generator=generator)
    output = y + torch.linspace(0.1, 2, rows).unsqueeze(1) * torch.randn(rows, 4, generator=generator)
    return output.double(), y if isinstance(task, Regression) else (y > 0).long()


TASKS: list[Task] = [
    Segmentation(3, ignore=255, floor=0.8),
    Segmentation(3, ignore=255, score_by="iou", floor=0.6),
    MultiLabel(),
    MultiLabel(threshold=0.3, score_by="hamming", floor=0.75),
    Regression(1.0, scale=3.0),
]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_margin_is_positive_just_where_the_answer_holds(task: Task) -> None:
    output, y = drawn(task)
    holds, margin = task.holds(output, y), task.margin(output, y)
    assert 0 < int(holds.sum()) < len(y)
    assert torch.equal(margin > 0, holds)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_step_up_a_loss_brings_the_margin_down(task: Task) -> None:
    output, y = drawn(task)
    for name, loss in task.losses.items():
        leaf = output.clone().requires_grad_(True)
        values = loss(leaf, y)
        assert values.shape == (len(y),)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
        worse = task.margin(output + 0.5 * slope.sign(), y)
        assert bool((worse <= task.margin(output, y) + 1e-6).all()), name


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_several_answers_of_a_row_are_judged_as_each_would_be(task: Task) -> None:
    output, y = drawn(task, 6)
    several = torch.stack([output, output.flip(0), output * 0.5], 1)
    for lane in range(3):
        alone = several[:, lane]
        for judge in (task.holds, task.margin, task.score, *task.losses.values()):
            torch.testing.assert_close(judge(several, y)[:, lane], judge(alone, y))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_scores_are_those_of_the_predictions(task: Task) -> None:
    output, y = drawn(task)
    score = task.score(output, y)
    assert bool(((score >= 0) & (score <= 1)).all())
    assert len(score.unique()) > 1
    torch.testing.assert_close(task.agreement(task.predictions(output), y).double(), score)
    assert torch.equal(task.right(task.predictions(output), y), task.holds(output, y))


def test_pixels_are_counted_but_for_ignored_ones() -> None:
    answers = said([[0, 1], [0, 0]], [[1, 1], [0, 2]])
    assert Segmentation(3, ignore=255).score(answers, MASKS).tolist() == [2 / 3, 1.0]
    iou = Segmentation(3, ignore=255, score_by="iou").score(answers, MASKS)
    torch.testing.assert_close(iou, torch.tensor([(1 / 2 + 1 + 0) / 3, 1.0], dtype=torch.float64))


def test_a_share_that_is_the_floor_holds() -> None:
    task = Segmentation(2, floor=0.9)
    y = torch.zeros(2, 1, 10, dtype=torch.int64)
    logits = torch.zeros(2, 2, 1, 10)
    logits[:, 0] = 1
    logits[0, 1, 0, 0] = 2
    logits[1, 1, 0, :2] = 2
    assert task.holds(logits, y).tolist() == [True, False]


def test_counts_add_up_to_intersections_and_unions() -> None:
    counts = Segmentation(3, ignore=255).counts(said([[0, 1], [0, 0]]).argmax(1), MASKS[:1])
    assert counts.tolist() == [[1, 1, 0, 2, 1, 1]]


def test_labels_by_hand() -> None:
    y, logits = torch.tensor([[1, 0, 1], [0, 0, 0]]), torch.tensor([[2.0, -1.0, -0.5], [-1.0, -1.0, -3.0]])
    assert MultiLabel().score(logits, y).tolist() == [0.0, 1.0]
    assert MultiLabel(score_by="hamming").score(logits, y).tolist() == [2 / 3, 1.0]
    assert MultiLabel().margin(logits, y).tolist() == [-0.5, 1.0]
    assert MultiLabel(threshold=0.25).predictions(torch.tensor([[-1.0, -1.2]])).tolist() == [[1, 0]]
    assert (
        MultiLabel().describe(y[0], y[0], torch.tensor([1, 1, 0]))["answer"] == "labels 0, 2; answered otherwise: -2 +1"
    )


def test_errors_by_hand() -> None:
    y, output = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.5, 1.0], [3.0, 0.0]])
    task = Regression(1.0, scale=2.0)
    assert task.holds(output, y).tolist() == [True, False]
    assert task.score(output, y).tolist() == [0.5, 0.0]
    assert task.ways(output, y)[0].tolist() == [0.5, 2.0, 1.5, 0.0]
    assert isinstance(task, Sided)
    assert not isinstance(CLASSIFICATION, Sided)


def test_the_worst_score_goes_on_below_the_floor() -> None:
    task: Any = WorstScore(Segmentation(3, ignore=255, floor=0.9))
    answers = said([[0, 1], [0, 0]], [[0, 0], [1, 1]])
    assert task.holds(answers, MASKS).tolist() == [True, False]
    assert torch.equal(task.margin(answers, MASKS) > 0, task.holds(answers, MASKS))
    assert task.name == "segmentation"
    assert task.losses.keys() == Segmentation(3).losses.keys()


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        (Segmentation(3), torch.zeros(2, 4, 4), "integers"),
        (Segmentation(3), torch.zeros(2, 4, dtype=torch.int64), r"shape \(N, H, W\)"),
        (Segmentation(3, ignore=9), torch.full((1, 2, 2), 9), "ignored as a whole"),
        (MultiLabel(), torch.tensor([[0, 2]]), "indicators"),
        (MultiLabel(), torch.tensor([0, 1]), r"\(N, K\)"),
        (Regression(1.0), torch.tensor([1.0, torch.nan]), "NaN"),
    ],
)
def test_targets_that_are_none_are_refused(task: Task, given: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        task.targets(given)


def test_targets_and_outputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"0\.\.2 but got the value 255"):
        Segmentation(3).check_targets(MASKS, 3)
    with pytest.raises(ModelError, match=r"\(2, 3, H, W\)"):
        Segmentation(3).check_output(torch.zeros(2, 4, 2, 2), 2, 0)
    with pytest.raises(ModelError, match="Resize"):
        Segmentation(3, floor=0.5).holds(torch.zeros(2, 3, 1, 1), MASKS.clamp(max=2))
    with pytest.raises(DataError, match="Expected 3 labels"):
        MultiLabel().check_targets(torch.zeros(1, 2, dtype=torch.int64), 3)
    with pytest.raises(ModelError, match="unsqueeze"):
        Regression(1.0).check_output(torch.zeros(5), 5, 0)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Segmentation(1),
        lambda: Segmentation(3, ignore=2),
        lambda: Segmentation(3, score_by="dice"),  # type: ignore[arg-type]
        lambda: Segmentation(3, floor=0.0),
        lambda: Segmentation(3, floor=1.5),
        lambda: MultiLabel(threshold=1.0),
        lambda: MultiLabel(score_by="exact", floor=0.5),
        lambda: Regression(0.0),
        lambda: Regression(1.0, scale=-1.0),
        lambda: checked_task(Classification),
        lambda: Segmentation(3).holds(said([[0, 1], [0, 0]]), MASKS[1:]),
    ],
)
def test_settings_that_mean_nothing_are_refused(made: Any) -> None:
    with pytest.raises(ConfigError):
        made()
