"""Every kind of claim, walked through what a verdict must not cover silently.

A threshold that any model keeps; a single sample; a class or group too small to judge; a threshold that is the
measured value; claims about the set and about the population. What was not judged is neither green nor silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis.strategies import just as hypothesis_just
from table_entries import check_entries
from torch import Tensor, nn

import robustest
from robustest import ConfigError, DataError, Linf, ModelError, Result, Verdict, strategies
from robustest.cli.suggest import SEEDS, suggestion
from robustest.cues import PixelPatch
from robustest.data.hierarchies import BreedsSplit
from robustest.reports.text import measured

M = robustest
CLASSES, SIDE, N = 4, 6, 200
_draw = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)
Y = torch.arange(N) % CLASSES
X = (0.5 + 0.1 * TEMPLATES[Y] + 0.25 * torch.randn(N, 1, SIDE, SIDE, generator=_draw)).clamp(0, 1)
CUE = PixelPatch(top=0, left=0, height=3, width=3)
Data = tuple[Tensor, Tensor]


class Net(nn.Module):
    """Compares with a template for each class: right for most, and for no class always."""

    def __init__(self, templates: Tensor = TEMPLATES) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE, CLASSES, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(templates.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((x - 0.5).flatten(1))
        return out


MODEL = Net().eval()
OTHER = Net(TEMPLATES + 0.5 * torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)).eval()


def first(n: int) -> Data:
    return X[:n], Y[:n]


def halved(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """The right half of each image is lost."""
    return torch.cat([x[..., : SIDE // 2], torch.full_like(x[..., SIDE // 2 :], 0.5)], -1)


def sequences(data: Data) -> M.data.SequenceBenchmark:
    """Frames that go from each image to one of which half is lost."""
    x, y = data
    share = torch.linspace(0, 1, 4).view(1, 4, 1, 1, 1)
    frames = torch.lerp(x.unsqueeze(1), halved(x, 1, y).unsqueeze(1), share)
    return M.data.SequenceBenchmark(name="halving", sequences={"tilt": frames}, published=len(x))


def recorded(data: Data) -> M.data.Outcomes:
    """Two runs of each sample, of two models, in groups by class."""
    x, y = data
    runs = [(model(x).argmax(1) == y).tolist() for model in (MODEL, OTHER)]
    return M.data.Outcomes.of(
        [
            {"item": f"q{i}", "score": held, "run": k, "group": f"class {label}"}
            for k, answers in enumerate(runs)
            for i, (held, label) in enumerate(zip(answers, y.tolist(), strict=True))
        ]
    )


def items(data: Data) -> list[dict[str, Any]]:
    """Each sample as an item, in groups by class."""
    x, y = data
    return [
        {"item": f"q{i}", "x": one.tolist(), "expected": int(label), "group": f"class {label}"}
        for i, (one, label) in enumerate(zip(x, y, strict=True))
    ]


def answer(item: dict[str, Any]) -> int:
    return int(MODEL(torch.tensor([item["x"]])).argmax(1))


def right(answer: int, item: dict[str, Any]) -> bool:
    return answer == item["expected"]


def faint(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "x": (0.5 + 0.1 * (torch.tensor(item["x"]) - 0.5)).tolist()}


def halved_item(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "x": halved(torch.tensor([item["x"]]), 1, Y)[0].tolist()}


CHANGES = {"faint": faint, "halved": halved_item}


class Two(nn.Module):
    """Two superclasses of two classes each: the first, and all others."""

    def forward(self, x: Tensor) -> Tensor:
        scores = MODEL(x)
        return torch.stack([scores[:, [0, 2]].amax(1), scores[:, [1, 3]].amax(1)], 1)


SPLIT = BreedsSplit(superclasses=("even", "odd"), source=((0,), (1,)), target=((2,), (3,)), names={})


def masks(data: Data) -> Data:
    """Masks of bright pixels."""
    return data[0], (data[0][:, 0] > 0.45).long()


def two_pixels(x: Tensor) -> Tensor:
    """Pixels are bright from a half on."""
    return 5 * torch.cat([0.5 - x, x - 0.5], 1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of claim.

    Attributes:
        assertion: of what name.
        measure: (data, **options) -> Result.
        threshold: the name of the argument.
        trivial: thresholds that any model keeps.
        other: further arguments that a threshold needs.
        exact: whether a threshold that is the measured value is kept for certain, where the set is claimed.
    """

    assertion: str
    measure: Callable[..., Result]
    threshold: str
    trivial: tuple[float, ...]
    other: dict[str, Any] = field(default_factory=dict)
    exact: bool = True


def kind(assertion: str, threshold: str, *trivial: float, **changes: Any) -> Callable[[Callable[..., Result]], Kind]:
    def made(measure: Callable[..., Result]) -> Kind:
        return Kind(assertion=assertion, measure=measure, threshold=threshold, trivial=trivial, **changes)

    return made


FGSM = {"attack": "fgsm"}
NOISE = "gaussian_noise"
ERRORS = {NOISE: [0.5] * 5}
KINDS = {
    "accuracy": kind("assert_accuracy", "at_least", 0)(lambda d, **o: M.measure.measure_accuracy(MODEL, d, **o)),
    "mean score": kind("assert_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_accuracy(two_pixels, masks(d), task=M.Segmentation(2), **o)
    ),
    "robust accuracy": kind("assert_robust_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_robust_accuracy(MODEL, d, Linf(0.02), **FGSM, **o)
    ),
    "patch": kind("assert_robust_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_robust_accuracy(
            MODEL, d, M.Patch(2, 2), attack=M.attacks.PatchGradient(places=2, kept=1, tries=1, refining=1), **o
        )
    ),
    "certified": kind("assert_certified_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_certified_accuracy(MODEL, d, Linf(0.02), **FGSM, **o)
    ),
    "robust score": kind("assert_robust_score", "at_least", 0)(
        lambda d, **o: M.measure.measure_robust_score(MODEL, d, Linf(0.02), task=M.Classification(), **FGSM, **o)
    ),
    "minimum perturbation": kind("assert_min_perturbation", "at_least", 0)(
        lambda d, **o: M.measure.measure_min_perturbation(MODEL, d, "linf", attack="fmn", **o)
    ),
    "universal": kind("assert_no_universal_perturbation", "max_fooling_rate", 1)(
        lambda d, **o: M.measure.measure_no_universal_perturbation(MODEL, d, Linf(0.05), iterations=3, **o)
    ),
    "shift": kind("assert_shift_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_shift_accuracy(MODEL, d, halved, **o)
    ),
    "drop": kind("assert_shift_accuracy", "max_drop", 1)(
        lambda d, **o: M.measure.measure_shift_accuracy(MODEL, d, halved, **({"max_drop": None} | o))
    ),
    "corruptions": kind("assert_corruption_robustness", "min_accuracy", 0)(
        lambda d, **o: M.measure.measure_corruption_robustness(MODEL, d, corruptions=[NOISE], severities=[1, 5], **o)
    ),
    "corruptions, drop": kind("assert_corruption_robustness", "max_drop", 1)(
        lambda d, **o: M.measure.measure_corruption_robustness(MODEL, d, corruptions=[NOISE], severities=[1, 5], **o)
    ),
    "corruptions, mCE": kind("assert_corruption_robustness", "max_mce", 2, 100, other={"reference": ERRORS})(
        lambda d, **o: M.measure.measure_corruption_robustness(MODEL, d, corruptions=[NOISE], severities=[1, 5], **o)
    ),
    "strategy": kind("assert_robust_to", "at_least", 0)(
        lambda d, **o: M.measure.measure_robust_to(
            MODEL, d, strategies.shifts([NOISE], max_severity=2), max_examples=4, **o
        )
    ),
    "consistency": kind("assert_consistency", "max_flip_rate", 1)(
        lambda d, **o: M.measure.measure_consistency(MODEL, d, halved, **o)
    ),
    "same answers": kind("assert_same_answers", "at_least", 0)(
        lambda d, **o: M.measure.measure_same_answers([MODEL, OTHER], d, halved, **o)
    ),
    # These three claim the population unless the call says otherwise.
    "rate": kind("assert_rate", "at_least", 0, exact=False)(lambda d, **o: M.measure.measure_rate(recorded(d), **o)),
    "rate, asked": kind("assert_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_rate(answer, items(d), score=right, **o)
    ),
    "rate in the worst group, asked": kind("assert_worst_group_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_worst_group_rate(answer, items(d), score=right, **o)
    ),
    "consistent runs, asked": kind("assert_consistent_runs", "max_flip_rate", 1, exact=False)(
        lambda d, **o: M.measure.measure_consistent_runs(answer, items(d), score=right, **o)
    ),
    "rate in the worst group": kind("assert_worst_group_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_worst_group_rate(recorded(d), **o)
    ),
    "consistent runs": kind("assert_consistent_runs", "max_flip_rate", 1, exact=False)(
        lambda d, **o: M.measure.measure_consistent_runs(recorded(d), **o)
    ),
    "reliable": kind("assert_reliable", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_reliable(recorded(d), k=2, **o)
    ),
    "reliable, asked": kind("assert_reliable", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_reliable(answer, items(d), score=right, k=2, **o)
    ),
    "worst item's rate": kind("assert_worst_item_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_worst_item_rate(recorded(d), **o)
    ),
    "worst item's rate, asked": kind("assert_worst_item_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_worst_item_rate(answer, items(d), score=right, **o)
    ),
    "invariance": kind("assert_invariant", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_invariant(answer, items(d), CHANGES, **o)
    ),
    "expectation": kind("assert_directional", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_directional(answer, items(d), CHANGES, score=right, expect="not_lower", **o)
    ),
    "rate under the worst change": kind("assert_worst_change_rate", "at_least", 0, exact=False)(
        lambda d, **o: M.measure.measure_worst_change_rate(answer, items(d), CHANGES, score=right, **o)
    ),
    "fall by the worst change": kind("assert_worst_change_rate", "max_fall", 1, exact=False)(
        lambda d, **o: M.measure.measure_worst_change_rate(answer, items(d), CHANGES, score=right, **o)
    ),
    "groups": kind("assert_worst_group_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_worst_group_accuracy(MODEL, d, d[1], **o)
    ),
    "transfer": kind("assert_transfer_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_transfer_accuracy(MODEL, d, (halved(d[0], 1, d[1]), d[1]), **o)
    ),
    "transfer, drop": kind("assert_transfer_accuracy", "max_drop", 1)(
        lambda d, **o: M.measure.measure_transfer_accuracy(MODEL, d, (halved(d[0], 1, d[1]), d[1]), **o)
    ),
    "calibrated": kind("assert_calibrated", "max_brier", 2)(lambda d, **o: M.measure.measure_calibrated(MODEL, d, **o)),
    "calibration error": kind("assert_calibrated", "max_ece", 1, exact=False)(
        lambda d, **o: M.measure.measure_calibrated(MODEL, d, **o)
    ),
    "selective accuracy": kind("assert_selective_accuracy", "at_least", 0)(
        lambda d, **o: M.measure.measure_selective_accuracy(MODEL, d, coverage=0.9, **o)
    ),
    "other data rejected": kind("assert_ood_rejected", "max_fpr", 1)(
        lambda d, **o: M.measure.measure_ood_rejected(MODEL, d, halved(d[0], 1, d[1]), **o)
    ),
    "flips of sequences": kind("assert_stable_under_perturbations", "max_mfp", 1)(
        lambda d, **o: M.measure.measure_stable_under_perturbations(MODEL, sequences(d), **o)
    ),
    "top-5 distance": kind("assert_stable_under_perturbations", "max_mt5d", 15)(
        lambda d, **o: M.measure.measure_stable_under_perturbations(MODEL, sequences(d), **o)
    ),
    "subpopulations": kind("assert_subpopulation_shift", "max_drop", 1)(
        lambda d, **o: M.measure.measure_subpopulation_shift(
            Two(), (d[0] - 0.1 * (d[1] > 1).view(-1, 1, 1, 1), d[1]), SPLIT, bounds=(-1, 1), **o
        )
    ),
    "cue, flips": kind("assert_no_spurious_feature", "max_flip_rate", 1)(
        lambda d, **o: M.measure.measure_no_spurious_feature(MODEL, d, CUE, **o)
    ),
    "cue, flips to a class": kind("assert_no_spurious_feature", "max_flip_rate", 1)(
        lambda d, **o: M.measure.measure_no_spurious_feature(MODEL, d, CUE, target_class=0, **o)
    ),
    "cue, recall": kind("assert_no_spurious_feature", "max_recall_drop", 1)(
        lambda d, **o: M.measure.measure_no_spurious_feature(
            MODEL, d, PixelPatch(top=0, left=0, height=3, width=3, value=1.0, off_value=0.0), target_class=1, **o
        )
    ),
}
every_kind = pytest.mark.parametrize("one", KINDS.values(), ids=KINDS)


def test_the_table_has_every_kind() -> None:
    asserted = {name for name in robustest.__all__ if name.startswith("assert_")}
    check_entries({one.assertion for one in KINDS.values()}, asserted, "KINDS in tests/contract/test_kinds.py")


@every_kind
def test_a_threshold_that_any_model_keeps_is_refused(one: Kind) -> None:
    for threshold in one.trivial:
        with pytest.raises(ConfigError, match=f"Expected {one.threshold} to be (more|less) than"):
            one.measure(first(N), **one.other, **{one.threshold: threshold})


@every_kind
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), True, "0.4", [0.4], 1e6], ids=str)
def test_what_is_no_number_in_range_is_refused(one: Kind, wrong: object) -> None:
    if wrong == 1e6 and one.threshold in {"max_anomaly", "max_image_error", "max_ratio", "at_least"}:
        return  # no largest one
    with pytest.raises(ConfigError, match=one.threshold):
        one.measure(first(N), **one.other, **{one.threshold: wrong})


@pytest.mark.thinned
@every_kind
@pytest.mark.parametrize("n", [3, 12, 30])
def test_what_is_suggested_for_few_samples_is_taken(one: Kind, n: int) -> None:
    """An interval may end where any model is: a limit there claims nothing, and the argument refuses it."""
    try:
        results = [one.measure(first(n), exact=True, seed=seed, **easy(one)) for seed in range(2)]
    except (DataError, ConfigError, ModelError):
        return
    found = suggestion(results[0], 0.01, [results[1]] * (SEEDS - 1))  # as if others were like the second
    if found.threshold is not None:
        one.measure(first(n), **{**easy(one), one.threshold: found.threshold})


def easy(one: Kind) -> dict[str, Any]:
    """The threshold next to trivial."""
    value = {0: 1e-9, 1: 0.999, 2: 1.99, 15: 14.9, -1: -0.99, -2: -1.99}.get(
        int(one.trivial[0]) if one.trivial else 9, 50.0
    )
    return {**one.other, one.threshold: value}


@pytest.mark.thinned
@every_kind
@pytest.mark.parametrize("scope", ["set", "population"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_claim_on_few_samples_is_not_silent(one: Kind, scope: str, n: int) -> None:
    """It is an error, it does not pass, or its line says how few they are."""
    try:
        result = one.measure(first(n), scope=scope, **easy(one))
    except (DataError, ConfigError, ModelError):
        return
    assert result.verdict is not Verdict.PASSED or "alone" in measured(result)
    assert result.numbers.n < 10
    assert any(caveat.endswith("alone") for caveat in result.words.caveats)


EXACT = {name: one for name, one in KINDS.items() if one.exact}


@pytest.mark.parametrize("one", EXACT.values(), ids=EXACT)
def test_a_threshold_at_the_measured_value(one: Kind) -> None:
    """It is kept about the set, and about the population never settled."""
    start = one.measure(first(N), exact=True, **easy(one))
    assert start.estimate is not None
    at = {**one.other, one.threshold: start.estimate}
    for exact in (False, True):
        result = one.measure(first(N), exact=exact, **at)
        assert result.verdict is Verdict.PASSED, result.rule
    population = one.measure(first(N), scope="population", **at)
    if one.assertion == "assert_robust_to":  # its change was picked by looking at these samples
        assert population.subject.scope == "set"
        assert "of this set alone, not of the population" in measured(population)
    else:
        assert (population.verdict, population.subject.scope) == (Verdict.INCONCLUSIVE, "population")


WRONG = next(at for at in range(N) if Y[at] == 3 and MODEL(X[at : at + 1]).argmax(1) != 3)
"""A sample of class 3 that the model has wrong."""
SMALL = torch.tensor([*(at for at in range(N) if Y[at] != 3), WRONG])
"""Class 3 has one sample: too few to judge by it what it stands for."""
FALLS = next(
    at
    for at in range(N)
    if Y[at] == 3 and MODEL(CUE.on(X[at : at + 1])).argmax(1) != 3 == MODEL(X[at : at + 1]).argmax(1)
)
"""One that it has right, unless the cue is on."""


def test_a_group_of_one_sample_is_judged() -> None:
    data, options = (X[SMALL], Y[SMALL]), {"at_least": 0.5}
    for exact in (False, True):
        assert (
            M.measure.measure_worst_group_accuracy(MODEL, data, data[1], exact=exact, **options).verdict
            is Verdict.FAILED
        )
    by_population = M.measure.measure_worst_group_accuracy(MODEL, data, data[1], scope="population", **options)
    assert by_population.verdict is Verdict.INCONCLUSIVE


def test_a_class_of_one_sample_may_fail_a_claim_on_recall() -> None:
    """With the cue off it is right, with it on wrong; so the negated cue's recall falls by all of it."""
    few = torch.tensor([*(at for at in range(N) if Y[at] != 3), FALLS])
    turned = PixelPatch(top=0, left=0, height=3, width=3, value=0.0, off_value=1.0)
    for exact in (False, True):
        result = M.measure.measure_no_spurious_feature(
            MODEL, (X[few], Y[few]), turned, max_recall_drop=0.9, exact=exact
        )
        assert result.verdict is Verdict.FAILED
    by_population = M.measure.measure_no_spurious_feature(
        MODEL, (X[few], Y[few]), turned, max_recall_drop=0.9, scope="population"
    )
    assert by_population.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["groups", "subpopulations"])
@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_class_too_small_to_judge_is_neither_green_nor_silent(name: str, scope: str) -> None:
    """Class 3 has one sample of seventeen: an error, no pass, or the line says what was left out."""
    one, few = KINDS[name], torch.cat([SMALL[:16], SMALL[-1:]])
    try:
        result = one.measure((X[few], Y[few]), scope=scope, **easy(one))
    except (DataError, ConfigError):
        return
    if result.verdict is Verdict.PASSED:
        assert "too few images" in measured(result) or "alone" in measured(result)


@pytest.mark.thinned
@every_kind
@pytest.mark.parametrize("scope", ["set", "population"])
def test_every_result_says_what_it_is_about(one: Kind, scope: str) -> None:
    """Scope, and the side that a search leaves open: of these the interval is open too."""
    result = one.measure(first(N), scope=scope, **easy(one))
    assert result.subject.scope in {"set", "population"}
    if result.subject.scope == "set" != scope:
        assert "of this set alone" in measured(result)
    low, high = result.interval
    if result.numbers.bounds:
        assert result.numbers.bounds == SEARCHES[one.assertion]
        assert f" at {'most' if result.numbers.bounds == 'above' else 'least'} " in measured(result)
        left = result.details["left_interval"]
        assert low == 0 if result.numbers.bounds == "above" else low == left[0]
        assert left[1] == high if result.numbers.bounds == "above" else high >= left[1]
    assert Result.from_dict(result.to_dict()) == result


@every_kind
def test_a_fall_says_where_it_starts(one: Kind) -> None:
    """Every line with the value of a fall, a gap or a loss has the value that it is taken from."""
    result = one.measure(first(N), **easy(one))
    words = set(result.numbers.quantity.split())
    falls = (
        bool(words & {"drop", "gap", "lost"}) and result.numbers.quantity != "selection gap"
    )  # of two sets of answers
    assert (result.numbers.start is not None) is falls
    # Of an inversion, a start so near that nothing has to change is a caveat.
    assert (" from " in measured(result).replace("; the start from grey changes no sample", "")) is falls
    if (
        result.numbers.start is not None
        and isinstance(result.numbers.start.value, float)
        and not result.details["health"]
    ):
        assert f" from {result.numbers.start.label} {result.numbers.start.value:.3f}, required " in measured(result)


@every_kind
def test_a_pass_about_the_population_rests_on_a_bound(one: Kind) -> None:
    """The end of the interval that speaks against the claim keeps the threshold; else the line says so."""
    result = one.measure(first(N), scope="population", **easy(one))
    if result.verdict is not Verdict.PASSED or result.subject.scope == "set":
        return
    low, high = result.numbers.left_interval
    assert result.ruling.threshold is not None
    assert (low >= result.ruling.threshold) if result.ruling.comparison == ">=" else (high <= result.ruling.threshold)
    assert low < high, "what was counted of these samples alone is no bound"


SEARCHES = {
    "assert_robust_score": "above",
    "assert_robust_accuracy": "above",
    "assert_min_perturbation": "above",
    "assert_robust_to": "above",
    "assert_no_universal_perturbation": "below",
}
"""Claims that rest on a search, and on which side its finds bound the truth; cues that are named need none."""


def test_each_search_bounds() -> None:
    for name in ("robust accuracy", "patch", "minimum perturbation", "strategy", "universal"):
        one = KINDS[name]
        assert one.measure(first(N), **easy(one)).numbers.bounds == SEARCHES[one.assertion], name


def test_a_radius_of_nothing_is_said() -> None:
    found = M.measure.measure_robust_accuracy(MODEL, first(N), Linf(0), at_least=0.5, **FGSM)
    assert measured(found).endswith("; Linf(eps=0) changes no sample")
    assert found.rule.startswith("nothing was tested: Linf(eps=0) changes none of 64 samples")
    still = M.Spatial(rotation=0, translation=0, scale=0)
    found = M.measure.measure_robust_accuracy(MODEL, first(20), still, at_least=0.5, attack=M.attacks.SpatialGrid())
    assert measured(found).endswith(f"; {still} changes no sample")
    found = M.measure.measure_no_universal_perturbation(MODEL, first(N), Linf(0), iterations=1, max_fooling_rate=0.5)
    assert measured(found).endswith("; Linf(eps=0) changes no sample")


def unmoved(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x


def still_frames(data: Data) -> M.data.SequenceBenchmark:
    frames = data[0].unsqueeze(1).expand(-1, 4, -1, -1, -1)
    return M.data.SequenceBenchmark(
        name="still", sequences={"tilt": sequences(data).sequences["tilt"], "still": frames}, published=N
    )


MASKS = torch.ones(N, 1, SIDE, SIDE)
STILL = "the shift unmoved, severity 3"
NOTHING_CHANGES: dict[str, tuple[str, Callable[[], Result]]] = {
    "shift": (
        STILL,
        lambda: M.measure.measure_shift_accuracy(MODEL, first(N), unmoved, at_least=0.5),
    ),
    "fall": (STILL, lambda: M.measure.measure_shift_accuracy(MODEL, first(N), unmoved, max_drop=0.5)),
    "population": (
        STILL,
        lambda: M.measure.measure_shift_accuracy(MODEL, first(N), unmoved, at_least=0.5, scope="population"),
    ),
    "consistency": (
        STILL,
        lambda: M.measure.measure_consistency(MODEL, first(N), unmoved, max_flip_rate=0.5),
    ),
    "calibration": (
        STILL,
        lambda: M.measure.measure_calibrated(MODEL, first(N), unmoved, max_brier=1.9),
    ),
    "calibration error": (
        STILL,
        lambda: M.measure.measure_calibrated(MODEL, first(N), unmoved, max_ece=0.9),
    ),
    "selective": (
        STILL,
        lambda: M.measure.measure_selective_accuracy(MODEL, first(N), unmoved, coverage=0.5, at_least=0.5),
    ),
    "pose": (
        "the shift pose (as it is)",
        lambda: M.measure.measure_consistency(MODEL, first(N), strategies.Pose(), max_flip_rate=0.5),
    ),
    "chain": (
        "the shift no change",
        lambda: M.measure.measure_shift_accuracy(MODEL, first(N), strategies.Composition(), at_least=0.5),
    ),
    "place": (
        "0 of the way",
        lambda: M.measure.measure_shift_accuracy(
            MODEL, first(N), strategies.Perturbation(Linf(0.1), share=0.0), at_least=0.5
        ),
    ),
    "radius": (
        "Linf(eps=0)",
        lambda: M.measure.measure_shift_accuracy(MODEL, first(N), strategies.Perturbation(Linf(0)), at_least=0.5),
    ),
    "one corruption of two": (
        "channel_swap, severity 1; channel_swap, severity 2",
        lambda: M.measure.measure_corruption_robustness(
            MODEL, first(N), corruptions=["gaussian_noise", "channel_swap"], severities=[1, 2], min_accuracy=0.5
        ),
    ),
    "own corruption": (
        "unmoved, severity 1",
        lambda: M.measure.measure_corruption_robustness(
            MODEL, first(N), corruptions=[halved, unmoved], severities=[1], max_drop=0.6
        ),
    ),
    "corruption error": (
        "unmoved, severity 1",
        lambda: M.measure.measure_corruption_robustness(
            MODEL,
            first(N),
            corruptions=[halved, unmoved],
            severities=[1],
            max_mce=1.5,
            reference={"halved": [0.5] * 5, "unmoved": [0.5] * 5},
        ),
    ),
    "frames": (
        "the perturbation still",
        lambda: M.measure.measure_stable_under_perturbations(MODEL, still_frames(first(N)), max_mfp=0.9),
    ),
    "cue": (
        "the cue 1x1 patch",
        lambda: M.measure.measure_no_spurious_feature(
            MODEL, (torch.ones_like(X), Y), PixelPatch(top=0, left=0, off_value=1.0), max_flip_rate=0.5
        ),
    ),
    "recall": (
        "the cue 1x1 patch",
        lambda: M.measure.measure_no_spurious_feature(
            MODEL, (torch.ones_like(X), Y), PixelPatch(top=0, left=0, off_value=1.0), max_recall_drop=0.5
        ),
    ),
    "one cue of two": (
        "the cue own",
        lambda: M.measure.measure_no_spurious_feature(
            MODEL, first(N), [CUE, M.cues.FunctionCue("own", on=lambda x: x * 1.0)], max_flip_rate=0.9
        ),
    ),
    "background swap": (
        "the cue background swap",
        lambda: M.measure.measure_no_spurious_feature(
            MODEL, first(N), M.cues.BackgroundSwap(masks=MASKS, backgrounds=X[:5]), max_flip_rate=0.9
        ),
    ),
    "strategy": (
        "the strategy",
        lambda: M.measure.measure_robust_to(MODEL, first(N), hypothesis_just(unmoved), at_least=0.5, max_examples=2),
    ),
    "strategy of poses": (
        "the strategy",
        lambda: M.measure.measure_robust_to(
            MODEL, first(N), strategies.poses(degrees=0, translation=0, zoom=0), at_least=0.5, max_examples=9
        ),
    ),
}


@pytest.mark.parametrize("kind", NOTHING_CHANGES)
def test_a_change_that_changes_nothing_tests_nothing(kind: str) -> None:
    """Accuracy under it is clean accuracy, which is not what was claimed; each change of a list counts by itself."""
    name, measure = NOTHING_CHANGES[kind]
    found = measure()
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rule.startswith(f"nothing was tested: {name}" if name.startswith("the") else "nothing was tested: ")
    assert name in found.rule
    assert f"none of {found.numbers.n} samples" in found.rule
    assert "changes no sample" in measured(found)
    assert 0 in found.details["changed"].values()


def test_a_change_that_changes_every_sample_says_nothing_of_it() -> None:
    found = M.measure.measure_shift_accuracy(MODEL, first(N), halved, at_least=0.5)
    assert found.verdict is Verdict.PASSED
    assert "changes" not in measured(found)


def now_and_then(x: Tensor) -> Tensor:
    """A twentieth of the samples is dimmed."""
    return torch.where((x[:, :1, :1, :1] * 1000).floor() % 20 == 0, x * 0.9, x)


FEW_CHANGE: dict[str, Callable[[], Result]] = {
    "shift": lambda: M.measure.measure_shift_accuracy(MODEL, first(N), now_and_then, at_least=0.6),
    "fall": lambda: M.measure.measure_shift_accuracy(MODEL, first(N), now_and_then, max_drop=0.3),
    "consistency": lambda: M.measure.measure_consistency(MODEL, first(N), now_and_then, max_flip_rate=0.3),
    "brier": lambda: M.measure.measure_calibrated(MODEL, first(N), now_and_then, max_brier=1.5),
    "calibration error": lambda: M.measure.measure_calibrated(MODEL, first(N), now_and_then, max_ece=0.9),
    "selective": lambda: M.measure.measure_selective_accuracy(
        MODEL, first(N), now_and_then, coverage=0.8, at_least=0.5
    ),
    "corruptions": lambda: M.measure.measure_corruption_robustness(
        MODEL, first(N), corruptions=[now_and_then], min_accuracy=0.6
    ),
    "cue": lambda: M.measure.measure_no_spurious_feature(
        MODEL, first(N), M.cues.FunctionCue("own", on=now_and_then), max_flip_rate=0.3
    ),
    "recall": lambda: M.measure.measure_no_spurious_feature(
        MODEL, first(N), M.cues.FunctionCue("own", on=now_and_then), max_recall_drop=0.5
    ),
    "strategy": lambda: M.measure.measure_robust_to(MODEL, first(N), hypothesis_just(now_and_then), at_least=0.6),
}


@pytest.mark.parametrize("kind", FEW_CHANGE)
def test_samples_that_did_not_change_cannot_carry_a_claim(kind: str) -> None:
    """Were the model wrong on every sample that changed, the claim would hold: nothing could have failed it."""
    found = FEW_CHANGE[kind]()
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rule.startswith("nothing could have failed it: ")
    count = next(iter(found.details["changed"].values()))
    assert 0 < count < 0.15 * found.numbers.n
    assert f"changes {count} of {found.numbers.n} samples" in measured(found)
