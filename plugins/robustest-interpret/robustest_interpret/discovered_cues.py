"""The claim about unnamed cues: proposed on one half of the samples, decided by an intervention on the other half."""

# 1. `propose` searches one half.
# 2. Each proposal is switched on and off in the other half. It is *sure* if it draws predictions to its class beyond
#    chance (McNemar's test, p <= alpha after Holm's correction over all proposals; for a cheapest patch also the
#    probability that one of as many classes is as cheap), if it draws more than twice the share of other predictions to
#    the class that it drives out of it, and if it is not faint.
# 3. A sure cue that moves more than is claimed fails the claim. Any other proposal that does leaves it inconclusive.
# 4. A claim that would pass must be able to fail: on positive controls (`controls`) the same search has to find their
#    cues. A patch, or a value in a column, is as plain as a cue can be: a search that misses it leaves the claim
#    inconclusive.
# 5. A pass says for each family the smallest share of a class at which a planted cue was found (`coverage`), and names
#    the classes that a small part of an image draws answers to, which may be content or a cue.
#
# A search that finds nothing proves little. Give data as training had them: a cue that only the training data had is
# found only if a patch leads to its class far more cheaply than to others. Natural features at a fixed place may be
# found, and a colour cast may move a model that never learned it. A claim that passes has found a cue planted in the
# same samples: search and samples suffice for cues as plain, and no more.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustest import Result, Verdict, as_classifier, rng
from robustest.attacks import Needs
from robustest.cues import Cue, FrequencyBand, MaskedPatch, NullCue, Plant, for_samples, switched
from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, ModelError, expected
from robustest.first_party import NO_SPURIOUS_FEATURE, Bench, CueOutcomes, CuePairs, Halves, with_control
from robustest.packs import Changed, Chunk, Decision, Options, Setup, finish, number, settings_of
from robustest_interpret.controls import (
    LEAST_DRAWN,
    SHARES,
    PlantedCue,
    PositiveControl,
    cues_to_plant,
    local_cues,
    names_of,
    plant_all,
    planted_chance,
    with_planted,
)
from robustest_interpret.coverage import FOLLOWED, KEEPS, SimulatedControls
from robustest_interpret.discovery.carrying_parts import (
    LARGEST_PART,
    SMALLEST_PARTS,
    CarryingPart,
    find_carrying_parts,
    recurring_marks,
)
from robustest_interpret.discovery.changes import standing_changes
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.fitted_changes import (
    SMALLEST_NOISY,
    FamilyClassifier,
    ImagePool,
    carried_proposal,
    explaining_proposal,
    faint_proposal,
    fit_families,
    fitted_proposals,
)
from robustest_interpret.discovery.fixed_places import (
    check_images,
    find_columns_and_tokens,
    find_patches,
    joined_patches,
    transplants,
)
from robustest_interpret.discovery.moving_marks import SMALLEST_MOVING, find_moving_marks
from robustest_interpret.discovery.proposals import (
    CHANNELS,
    COLUMNS,
    CURVES,
    EDGES,
    FAMILIES,
    MOVING,
    NOISE,
    OWN,
    PAIRS,
    PATCHES,
    PROPERTIES,
    SPECTRA,
    TOKENS,
    TRIGGERS,
    CueLimits,
    Discovery,
    Proposal,
)
from robustest_interpret.discovery.triggers import anomaly_chance, patch_sides, search_triggers
from robustest_interpret.discovery.whole_marks import artefacts, is_ground

# The search; `robustest_interpret.discovery` describes its steps. It fills in the cues that each step found before the
# next one, tries changes on the model itself, and searches the cheapest patches where gradients and classes allow it.

# Samples in which the standing changes are switched on.
_TRIED_ON = 256

# Share of other classes' samples that a standing change has to draw to one class to be considered for a proposal.
_DRAWN = 0.05

# Standing changes considered, those that draw most.
_CONSIDERED = 6

# Part of an image's pixels up to which a part that brings a mark of whole images is suspected: larger parts are
# content, and content marks a class too.
_SPECK = 0.025


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """The result of a search.

    Attributes:
        looked_at, left_out: the parts searched, and not searched, in words.
        not_searched: families that were not searched for, with reasons.
        few: number of classes with too few samples.
        marks: class, family and gap of marks that no change explains.
        planted: see `planted_chance`.
        parts: small parts of images that draw answers to their class, at most one of each class.
        ids: (n,) int64 positions of the images searched in the user's data.
    """

    proposals: tuple[Proposal, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    not_searched: Mapping[str, str]
    few: int
    marks: tuple[Mapping[str, Any], ...]
    planted: float = 1.0
    parts: tuple[CarryingPart, ...] = ()
    ids: Tensor | None = None


def propose(
    bench: Bench,
    discovery: Discovery,
    *,
    target: int | None,
    seed: int,
    control: bool = False,
    families: Collection[str] = (),
) -> SearchFindings:
    """Search for cues in the samples, and in the model's answers to them.

    Args:
        target: the one class whose cues are wanted, or None for all.
        control: the model is a positive control, in which a planted cue has to be found without standing changes.
        families: the families to search for; empty for all.

    Raises:
        ConfigError: the samples are no images and no rows of numbers, or the target is no class.
    """
    x, y = bench.chunk.x, bench.chunk.y
    if x.ndim != 2:
        check_images(x, 'cue="auto"')
    # A control's answers are simulated: nothing in its search asks the model.
    before = y if control else bench.evaluator.task.predictions(bench.evaluator.logits(x))
    bench.evaluator.check_labels(y)
    if target is not None and target >= bench.evaluator.classes:
        raise ConfigError(f"Expected target in 0..{bench.evaluator.classes - 1} but got {target}.")
    counts = torch.bincount(y)
    labels = [k for k, n in enumerate(counts.tolist()) if n >= discovery.min_members]
    few = int((counts > 0).sum()) - len(labels)
    left_out = [f"{few} classes of fewer than {discovery.min_members} samples"] if few else []
    if x.ndim == 2:
        found = _in_rows(bench, discovery, labels)
    else:
        wanted = frozenset(families or FAMILIES)
        found = _in_images(bench, discovery, labels, before, seed, control=control, families=wanted, target=target)
    proposals = tuple(one for one in found.proposals if target in (None, one.label))
    left = (*left_out, *found.left_out)
    return replace(found, proposals=proposals, left_out=left, few=few, ids=bench.chunk.ids)


def _in_images(
    bench: Bench,
    discovery: Discovery,
    labels: Sequence[int],
    before: Tensor,
    seed: int,
    *,
    control: bool,
    families: Collection[str],
    target: int | None,
) -> SearchFindings:
    x, y, bounds = bench.chunk.x, bench.chunk.y, bench.chunk.bounds
    height, width = x.shape[2:]
    # 1. Patches at a fixed place. Each is filled in, in every image: filled in only where it was, the filling would
    #    mark the class.
    places: tuple[Proposal, ...] = ()
    shapes: list[Proposal] = []
    if PATCHES in families:
        seen = find_patches(x, y, labels, bounds=bounds, min_gap=discovery.min_gap)
        places, degrees = artefacts(seen, x, y, bounds=bounds)
        shapes += degrees
    rest = x
    for patch in places:
        if isinstance(patch.cue, MaskedPatch):
            rest = replace(patch.cue, tolerance=None).off(rest)
    looked_at = [f"{height * width} places in {len(labels)} classes"]

    # 2. Marks that move.
    moving: tuple[Proposal, ...] = ()
    if MOVING in families:
        seen = find_moving_marks(rest, y, labels, bounds=bounds, min_gap=discovery.min_gap, seed=seed)
        moving, degrees = artefacts(seen, rest, y, bounds=bounds)
        shapes += degrees
    for mark in moving:
        rest = mark.cue.off(rest)
    looked_at.append("marks that move")

    # 3. Whole images.
    pool = ImagePool(x=rest, y=y, bounds=bounds, seed=seed)
    classifiers = fit_families(pool, labels, families) if len(labels) > 1 else []
    whole, unexplained = fitted_proposals(classifiers, pool, min_mark=discovery.min_mark)
    looked_at.append(f"what {len(x)} whole images are like")

    # 4. Changes that are tried on every model.
    if not control:
        whole += _standing_proposals(
            bench,
            discovery,
            before,
            labels=labels,
            classifiers=classifiers,
            pool=pool,
            fitted=whole,
            named={mark.label for _, mark in unexplained},
        )

    # 5. Parts that carry their class, with the marks that recur in them.
    parts: tuple[CarryingPart, ...] = ()
    carrying: list[Proposal] = []
    if not control and PAIRS in families and len(labels) > 1 and min(height, width) >= SMALLEST_PARTS:
        of_class, carrying = _carrying_parts(bench, labels, before, target, seed)
        parts = tuple(mine[0] for mine in of_class.values())
        recurring = {one.label for one in carrying}
        for label, mine in of_class.items():
            if label not in recurring:
                carrying += _carried_marks(mine, classifiers, pool, x, min_mark=discovery.min_mark)
        looked_at.append("parts that draw a class")

    # 6. Cheapest patches.
    triggers, planted, why = (
        _triggers(bench, labels, discovery, seed) if TRIGGERS in families else ([], 1.0, "no trigger is planted")
    )
    if not why:
        looked_at.append(f"the cheapest patch to each of {len(labels)} classes")

    return SearchFindings(
        proposals=(
            *places,
            *joined_patches(places),
            # Where the ground shows in place of others' content, nothing turns.
            *transplants(x, y, [one for one in places if not is_ground(one, x, bounds=bounds)]),
            *moving,
            *whole,
            *carrying,
            *triggers,
        ),
        looked_at=tuple(looked_at),
        left_out=(f"cheapest patches: {why}",) if why else (),
        not_searched=_not_searched_in_images(x.shape[1:], discovery, classes=len(labels), no_triggers=why),
        few=0,
        marks=tuple(
            {"class": label, "property": family, "gap": gap}
            for family, label, gap in (
                *((family, mark.label, mark.gap) for family, mark in unexplained),
                *((one.found_by, one.label, one.score) for one in shapes),
            )
        ),
        planted=planted,
        parts=parts,
    )


def _not_searched_in_images(
    shape: Sequence[int], discovery: Discovery, *, classes: int, no_triggers: str
) -> dict[str, str]:
    """Return the families that are not searched for in images of a shape (C, H, W), with reasons.

    Args:
        classes: number of classes with enough images.
        no_triggers: the reason why cheapest patches were not searched, or empty.
    """
    channels, side = shape[0], min(shape[1:])
    reasons = dict.fromkeys((COLUMNS, TOKENS), "images")
    if channels == 1:
        reasons[CHANNELS] = "images of one channel"
    for smallest, families in (
        (SMALLEST_MOVING, (MOVING,)),
        (SMALLEST_PARTS, (PAIRS, OWN, CURVES)),
        (SMALLEST_NOISY, (NOISE,)),
    ):
        if side < smallest:
            reasons |= dict.fromkeys(families, f"images of fewer than {smallest} pixels")
    if classes < 2:
        compared = (PATCHES, MOVING, PROPERTIES, CHANNELS, SPECTRA, EDGES, NOISE, PAIRS, OWN, CURVES)
        reasons |= dict.fromkeys(compared, f"fewer than two classes of {discovery.min_members} images")
    if no_triggers:
        reasons[TRIGGERS] = no_triggers
    return reasons


def _carrying_parts(
    bench: Bench, labels: Sequence[int], before: Tensor, target: int | None, seed: int
) -> tuple[dict[int, list[CarryingPart]], list[Proposal]]:
    """Return by class the small parts that draw answers to it, the smallest first, and the marks that recur in parts.

    Classes without such a part are left out.
    """
    x, y, bounds = bench.chunk.x, bench.chunk.y, bench.chunk.bounds
    wanted = [label for label in labels if target in (None, label)]
    parts = find_carrying_parts(x, y, before, bench.answers, wanted, classes=len(wanted), seed=seed)
    recurring = recurring_marks(x, y, labels, parts, bounds=bounds, seed=seed)
    small = {label: [one for one in mine if _draws(one)] for label, mine in parts.items()}
    return {label: mine for label, mine in small.items() if mine}, recurring


def _carried_marks(
    parts: Sequence[CarryingPart],
    classifiers: Sequence[FamilyClassifier],
    pool: ImagePool,
    x: Tensor,
    *,
    min_mark: float,
) -> list[Proposal]:
    """Return the smallest parts of a class as a faint proposal if they bring its mark to other images."""
    specks = [one for one in parts if one.area <= _SPECK]
    if not specks:
        return []
    cut, masks = (torch.stack(part).cpu() for part in ([x[one.row] for one in specks], [one.region for one in specks]))
    cue = CutOut(pool=cut, masks=masks, seed=pool.seed)
    found = carried_proposal(classifiers, cue, specks[0].label, pool, min_mark=min_mark)
    return [] if found is None else [found]


def _draws(part: CarryingPart) -> bool:
    # A small part that draws answers, and not by its place or outline alone.
    return part.area <= LARGEST_PART and part.drawn - part.placebo > LEAST_DRAWN


def _standing_proposals(
    bench: Bench,
    discovery: Discovery,
    before: Tensor,
    *,
    labels: Sequence[int],
    classifiers: Sequence[FamilyClassifier],
    pool: ImagePool,
    fitted: Sequence[Proposal],
    named: Collection[int],
) -> list[Proposal]:
    # Proposals in addition to `fitted`; the verdict names the classes `named` as marked by nothing that was tried.
    proposals, known = list[Proposal](), {(other.label, other.cue.name) for other in fitted}
    for cue, label, draws_in in _drawing_changes(bench, before):
        if label not in labels:
            continue
        # A change that draws many predictions to a class is proposed if it explains marks of the class; or faintly, if
        # few of the class's images look like it.
        one = explaining_proposal(classifiers, cue, label, pool, min_mark=discovery.min_mark)
        if one is None and draws_in and not (isinstance(cue, FrequencyBand) and label in named):
            one = faint_proposal(classifiers, cue, label, pool)
        if one is not None and (label, one.cue.name) not in known:
            proposals.append(one)
            known.add((label, one.cue.name))
    return proposals


def _drawing_changes(bench: Bench, before: Tensor) -> list[tuple[Cue, int, bool]]:
    """Return the standing changes that draw most predictions to one class, most first, with the class.

    The last value is False for a change that drives a larger share of the class's predictions out of it than it draws
    in: it merely disturbs the model.
    """
    chunk, task = bench.chunk, bench.evaluator.task
    few = chunk.rows(torch.arange(min(_TRIED_ON, len(chunk.y)), device=chunk.y.device))
    was = before[: len(few.y)]
    drawing = list[tuple[float, Cue, int, bool]]()
    for cue in standing_changes(chunk.x.shape[1:], chunk.bounds):
        after = task.predictions(bench.evaluator.logits(switched(cue, few.x, few.bounds)[0]))
        moved = (after != was) & (after != few.y)
        if not bool(moved.any()):
            continue
        label = int(torch.bincount(after[moved]).argmax())
        share = float((moved & (after == label)).double().sum() / (few.y != label).sum().clamp(min=1))
        if share >= _DRAWN:
            into, out = (
                float((part & change).double().sum() / part.double().sum().clamp(min=1))
                for part, change in ((was != label, after == label), (was == label, after != label))
            )
            drawing.append((share, cue, label, into > out))
    drawing.sort(key=lambda one: -one[0])
    return [(cue, label, draws_in) for _, cue, label, draws_in in drawing[:_CONSIDERED]]


def _in_rows(bench: Bench, discovery: Discovery, labels: Sequence[int]) -> SearchFindings:
    x, y = bench.chunk.x, bench.chunk.y
    proposals, tokens = find_columns_and_tokens(x, y, labels, min_gap=discovery.min_gap)
    looked_at = [f"{x.shape[1]} columns in {len(labels)} classes"]
    not_searched = {family: "rows of numbers" for family in FAMILIES if family not in (COLUMNS, TOKENS)}
    if tokens:
        looked_at.append("tokens wherever they stand")
    else:
        not_searched[TOKENS] = "the rows are no whole numbers"
    if len(labels) < 2:
        not_searched |= dict.fromkeys((COLUMNS, TOKENS), f"fewer than two classes of {discovery.min_members} rows")
    return SearchFindings(tuple(proposals), tuple(looked_at), (), not_searched, 0, ())


def _triggers(
    bench: Bench, labels: Sequence[int], discovery: Discovery, seed: int
) -> tuple[list[Proposal], float, str]:
    """Return proposals, `SearchFindings.planted`, and the reason if no patches were searched."""
    if not discovery.trigger_steps:
        return [], 1.0, "trigger_steps=0"
    if bench.evaluator.model.gives < Needs.GRADIENT:
        return [], 1.0, "the model gives no gradients"
    if len(labels) < 4:
        return [], 1.0, f"{len(labels)} classes are too few to tell the odd one out"
    x, y = bench.chunk.x, bench.chunk.y
    try:
        # One sample first: a model without gradients fails here, and not in the middle of a search.
        bench.gradient(x[:1], y[:1])
    except ModelError as error:
        return [], 1.0, str(error).partition(". ")[0]
    # Every other side where there are many: each costs as many passes as the last.
    sides = patch_sides(None, min(x.shape[2:]))
    sides = sides if len(sides) < 8 else sides[::2]
    found = search_triggers(
        x,
        y,
        bench.gradient,
        bench.evaluator.logits,
        classes=bench.evaluator.classes,
        labels=labels,
        bounds=bench.chunk.bounds,
        steps=discovery.trigger_steps,
        sizes=sides,
        threshold=discovery.max_anomaly,
        seed=seed,
    )
    planted = planted_chance(bench, found, steps=discovery.trigger_steps, sides=sides, seed=seed)
    suspected = [
        Proposal(
            found_by=TRIGGERS,
            label=trigger.label,
            cue=trigger.cue,
            score=trigger.anomaly,
            region=(trigger.top, trigger.left, trigger.size, trigger.size),
            value=tuple(trigger.pattern.mean((1, 2)).tolist()),
            chance=anomaly_chance(trigger.anomaly, [one.cost for one in found.triggers], seed),
        )
        for trigger in found.suspects
    ]
    return suspected, planted, ""


# Families whose control has to be found for any claim to pass.
_PLAINEST = frozenset({PATCHES, COLUMNS})


def measure_discovered(
    model: object,
    data: object,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Result:
    """Measure `measure_no_spurious_feature` where no cue is named."""
    samples = as_samples(data)
    result, _ = measure_search(model, samples, discovery, limits, options)
    if result.verdict is not Verdict.PASSED:
        return with_families(result)
    found = result.details["discovery"]
    proven = {TRIGGERS} if found["planted_patch_p"] <= settings_of(options, inputs=True).alpha else set[str]()
    marked = {one["class"] for one in (*found["proposed"], *found["other_marks"])}
    if control is None and learner is None:
        result, shares = _simulate(result, model, samples, discovery, options, target=limits.target, marked=marked)
        return with_families(result, {*proven, *shares}, shares)
    for known in _controls(model, samples, discovery, limits, options, marked=marked, control=control, learner=learner):
        shown, confirmed = measure_search(
            known.model,
            known.samples,
            known.discovery,
            limits,
            known.options,
            control=True,
            # The other families need not be found, and their search would take as long as that of the claim.
            families={cue.family for cue in known.planted},
        )
        proven |= known.proven(confirmed)
        problem = _control_problem(known, shown.verdict, confirmed)
        row = {"measured": shown.estimate, "n": shown.numbers.n, "model": known.kind}
        result = with_control(result, cue=known.name, verdict=shown.verdict, row=row, problem=problem, cost=shown.cost)
    return with_families(result, proven)


def _controls(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    marked: Collection[int],
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Iterator[PositiveControl]:
    if control is not None or learner is None:
        name = "what the control relies on"
        yield PositiveControl(control, samples, discovery, options, name=name, kind="given")
        return
    settings = settings_of(options, inputs=True)
    classifier = as_classifier(model, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
    for planted in cues_to_plant(samples, classifier.bounds, settings.seed, limits.target, marked):
        data = with_planted(samples, planted, settings.seed)
        made = learner(partial(plant_all, planted, settings.seed))
        yield PositiveControl(
            made, data, discovery, options, name=names_of(planted), kind="trained", planted=tuple(planted)
        )


# Unseen samples that simulated controls confirm proposals on, at most.
_CONFIRMED_ON = 300


def _simulate(
    result: Result,
    model: object,
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    target: int | None,
    marked: Collection[int],
) -> tuple[Result, dict[str, float]]:
    """Return a result that passed with its simulated controls, and the smallest share found of each family."""
    setup = Setup.of(model, samples, options)
    seed = setup.settings.seed
    halves = Halves.of(samples, seed, discovery.search_samples)
    rounds = cues_to_plant(samples, setup.model.bounds, seed, target, marked)
    with Bench.opened(setup.model, halves, setup.settings) as ready:
        chunk = ready.chunk
        some = halves.unseen[rng.permutation(seed, len(halves.unseen))[:_CONFIRMED_ON]]
        unseen = Chunk.of(samples, some, bounds=chunk.bounds, seed=seed, device=chunk.x.device)

        def search(made: Bench, families: Collection[str]) -> Sequence[Proposal]:
            return propose(made, discovery, target=target, seed=seed, control=True, families=families).proposals

        controls = SimulatedControls(
            ready=ready,
            unseen=unseen,
            search=search,
            alpha=setup.settings.alpha,
            seed=seed,
            least=discovery.min_members,
        )
        shares = _smaller_shares(controls, rounds, min(discovery.min_gap, discovery.min_mark))
        # What is found in half of a class is found in nearly all of it: the rest, and the plainest cues.
        for each in rounds:
            planted = tuple(cue for cue in each if cue.family in _PLAINEST or cue.family not in shares)
            if not planted:
                continue
            confirmed = controls.confirmed(planted, SHARES[0])
            name = names_of(planted)
            known = PositiveControl(model, samples, discovery, options, name=name, kind="simulated", planted=planted)
            found = known.proven(one.proposal for one in confirmed)
            shares = dict.fromkeys(found, SHARES[0]) | shares
            verdict = Verdict.FAILED if confirmed else Verdict.PASSED
            problem = _control_problem(known, verdict, [one.proposal for one in confirmed])
            moved = max((one.flip_rate for one in confirmed), default=0.0)
            row = {"measured": moved, "n": len(unseen.y), "model": "simulated"}
            result = with_control(result, cue=name, verdict=verdict, row=row, problem=problem)
            if problem:
                break
    return result.but(cost=replace(result.cost, forward=result.cost.forward + ready.tally.forward)), shares


def _smaller_shares(
    controls: SimulatedControls, rounds: Sequence[Sequence[PlantedCue]], least: float
) -> dict[str, float]:
    """Return by family the smallest share at which its cue is found, for cues found in half of a class or less.

    Args:
        least: smaller shares are not tried for cues of whole images.
    """
    shares: dict[str, float] = {}
    chunk = controls.ready.chunk
    if chunk.x.ndim == 4:
        # Parts find patches and marks that move at smaller shares than the searches of these families do.
        local = local_cues(chunk.x[:256], chunk.bounds, controls.seed, rounds[0][0].label)
        shares |= controls.smallest_of_local(local)
    whole = [cue for planted in rounds for cue in planted if cue.family not in {*_PLAINEST, MOVING}]
    return shares | controls.smaller_shares(whole, least)


def measure_search(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    control: bool = False,
    families: Collection[str] = (),
) -> tuple[Result, list[Proposal]]:
    """Measure the claim on one model; return its result and the sure proposals.

    A positive control, if `control`, spends none of the test's error, and has no pictures.
    """
    setup = Setup.of(model, samples, options)
    if setup.samples.coding is not None:
        mend = "Of frames, name them: ColumnValue, ShuffledColumn."
        raise ConfigError(expected("tensors to search for cues in", "samples in another format", mend))
    terms = replace(setup.alone, scope="set") if control else setup.terms
    # Confirming a proposal is a test beside the claim's own: its number of samples must not depend on the claim.
    setup = setup.but(exact=True)
    setup = setup.unpictured() if control else setup
    halves = Halves.of(samples, setup.settings.seed, discovery.search_samples)
    with Bench.opened(setup.model, halves, setup.settings) as ready:
        found = propose(
            ready, discovery, target=limits.target, seed=setup.settings.seed, control=control, families=families
        )
        proposals, chunk = found.proposals, ready.chunk
        # Cues that cannot be removed: switched off, they leave all samples unchanged.
        permanent = frozenset(
            number
            for number, one in enumerate(proposals)
            if torch.equal(switched(for_samples(one.cue, chunk.ids), chunk.x, chunk.bounds)[1], chunk.x)
        )
    cues: list[tuple[Cue, int | None]] = [(one.cue, one.label) for one in proposals] or [(NullCue(), None)]
    towards = "" if limits.target is None else f" towards class {limits.target}"
    by_recall = limits.max_flip_rate is None and limits.max_recall_drop is not None
    quantity = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if by_recall else "max_flip_rate")
    outcomes = CueOutcomes.measured(
        setup,
        halves,
        cues,
        statement=quantity.state("cues that a search finds", towards),
        max_flip_rate=limits.max_flip_rate,
        max_recall_drop=limits.max_recall_drop,
        terms=terms,
        tally=ready.tally,
    )
    evidence = outcomes.evidence
    verdicts = ProposalVerdicts(found, outcomes, setup.settings.alpha, permanent)
    result = finish(
        outcomes.plan,
        evidence if proposals else replace(evidence, exhibits=[]),
        decision=outcomes.checked(verdicts.decision()),
        kind=NO_SPURIOUS_FEATURE,
        quantity=quantity,
        threshold=limits.max_recall_drop if by_recall else limits.max_flip_rate,
        setting="; ".join(found.looked_at),
        method=f"searched on {len(halves.searched)} samples, switched in the {len(halves.unseen)} others",
        details=outcomes.details(verdicts.lead)
        | {"discovery": verdicts.details(len(halves.searched), len(halves.unseen))},
        bounds="below",
        # Its own controls show which cues it would have found.
        changed=[Changed(by="a search for no kind of cue", moved=np.full(evidence.n, bool(found.looked_at)))],
    )
    return halves.whole(result), verdicts.confirmed


class ProposalVerdicts:
    """The verdict of the intervention on each proposal, and on the claim.

    Attributes:
        p: p-values that cues draw no predictions to their classes, corrected for all proposals (Holm).
        sure: numbers of the sure proposals.
        lead: the proposal that counts most against the claim.
    """

    def __init__(
        self,
        found: SearchFindings,
        outcomes: CueOutcomes,
        alpha: float,
        permanent: Collection[int] = (),
    ) -> None:
        evidence = outcomes.evidence
        self._found, self._evidence, self._outcomes = found, evidence, outcomes
        self._alpha, self._permanent = alpha, permanent
        self.pairs = outcomes.pairs if found.proposals else []
        tests = CuePairs.p_values(self.pairs, [one.chance for one in found.proposals])
        self.p = [table[one.label] for table, one in zip(tests, found.proposals, strict=True)]
        self.sure = [
            number
            for number, (p, one) in enumerate(zip(self.p, found.proposals, strict=True))
            if p <= alpha and self._keeps(number) and not one.faint
        ]
        whole = evidence.whole and found.proposals
        self._alone = (
            [outcomes.alone(pairs) for pairs in self.pairs] if whole else [evidence.decision] * len(self.pairs)
        )
        broken = [number for number in self.sure if self._alone[number].verdict is Verdict.FAILED]
        moving = [number for number, one in enumerate(self._alone) if one.verdict is not Verdict.PASSED]
        # Sure proposals that break the claim lead, else all that break it, else the sure ones.
        self.lead = outcomes.lead(broken or (moving if whole else []) or self.sure)

    @property
    def confirmed(self) -> list[Proposal]:
        return [self._found.proposals[number] for number in self.sure]

    def _keeps(self, number: int) -> bool:
        # A model that relies on a cue keeps its class when the cue is stronger: networks trained with one lose next to
        # no predictions of the class. A change that the model cannot bear (noise, a channel off, an unusual tone)
        # gathers predictions in some class too, because other predictions are more numerous, but scatters that class's
        # own.
        into, out = self.pairs[number].shares_moved(self._found.proposals[number].label)
        return into > KEEPS * out

    def decision(self) -> Decision:
        """Return failed if a sure cue moves more than is claimed, passed if no proposal does, else inconclusive."""
        decision, proposals = self._evidence.decision, self._found.proposals
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        if not proposals:
            return replace(decision, rule=f"no cue stands out among {', '.join(self._found.looked_at)}")
        if decision.verdict is Verdict.PASSED and (hidden := self._hidden_recall()):
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=hidden, reasons=("unfit",))
        if decision.verdict is Verdict.PASSED:
            return replace(decision, rule=f"no cue proposed ({len(proposals)}) moves more than is claimed")
        one, lead = proposals[self.lead], self._alone[self.lead]
        if self.lead in self.sure and lead.verdict is Verdict.FAILED:
            p = f"p = {self.p[self.lead]:.2g} on unseen samples"
            return replace(lead, rule=f"the {one.cue.name} draws predictions to class {one.label}, {p}")
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=self._doubt(), reasons=("unfit",))

    def _doubt(self) -> str:
        """Return the reason why a leading cue that moves more than is claimed does not refute the claim."""
        one, p = self._found.proposals[self.lead], self.p[self.lead]
        if p <= self._alpha and not self._keeps(self.lead):
            into, out = self.pairs[self.lead].shares_moved(one.label)
            return (
                f"the {one.cue.name} moves {number(into)} of other predictions to class {one.label}, and "
                f"{number(out)} of the "
                "class's own out of it: it may be a cue, or a change that the model does not bear"
            )
        if one.faint and isinstance(one.cue, CutOut):
            return (
                f"the {one.cue.name} draws predictions to class {one.label}, and makes images look like it by the "
                f"{one.found_by}: content of the class, or a cue; claim it by name"
            )
        if one.faint:
            return (
                f"the {one.cue.name} draws predictions to class {one.label}, and some of the class's images, too few "
                "for a search to be sure, look like it: claim it by name"
            )
        if one.chance > self._alpha:
            return (
                f"the {one.cue.name} draws predictions to class {one.label}, as it was made to; a class as cheap "
                f"to reach may come by chance (p = {one.chance:.2g})"
            )
        return (
            "a cue proposed moves more than is claimed, but none is sure to draw predictions to its class "
            f"(p = {p:.2g} on unseen samples)"
        )

    def _hidden_recall(self) -> str:
        """Return the reason why a limit on recall misses a cue that cannot be removed; empty if it does not."""
        # Switching such a cue never costs members of its class any recall. The predictions that it draws from other
        # classes show that something rests on it.
        rule = self._outcomes.rule
        limit = rule.max_recall_drop
        if not rule.by_recall or limit is None:
            return ""
        likely = [number for number, one in enumerate(self._found.proposals) if one.faint and self._keeps(number)]
        rates = {number: self.pairs[number].flip_rate for number in {*self.sure, *likely} & {*self._permanent}}
        worst = max(rates, key=lambda number: rates[number], default=None)
        if worst is None or rates[worst] <= limit:
            return ""
        one = self._found.proposals[worst]
        return (
            f"the {one.cue.name} draws {number(rates[worst], limit)} of the others' predictions to class "
            f"{one.label} and cannot "
            "be taken away: what recall rests on it is not known; claim max_flip_rate too"
        )

    def details(self, searched_on: int, judged_on: int) -> dict[str, Any]:
        return {
            "searched_on": searched_on,
            "judged_on": judged_on,
            "looked_at": list(self._found.looked_at),
            "left_out": list(self._found.left_out),
            "few": self._found.few,
            "families": [
                {"found_by": key, "family": words, "not_searched": self._found.not_searched.get(key, "")}
                for key, words in FAMILIES.items()
            ],
            "planted_patch_p": self._found.planted,
            "confirmed": len(self.sure),
            "proposed": [
                {
                    "class": one.label,
                    "cue": one.cue.name,
                    "found_by": one.found_by,
                    "families": list(one.families or (one.found_by,)),
                    "score": one.score,
                    "region": None if one.region is None else list(one.region),
                    "value": list(one.value),
                    "p": self.p[number],
                    "chance": one.chance,
                    "faint": one.faint,
                    "moved_in_and_out": list(self.pairs[number].shares_moved(one.label)),
                    "confirmed": number in self.sure,
                }
                for number, one in enumerate(self._found.proposals)
            ],
            "other_marks": [dict(mark) for mark in self._found.marks],
            "parts": [
                {
                    "class": one.label,
                    "image": None if self._found.ids is None else int(self._found.ids[one.row]),
                    "area": one.area,
                    "drawn": one.drawn,
                    "placebo": one.placebo,
                }
                for one in self._found.parts
            ],
        }


def _control_problem(control: PositiveControl, verdict: Verdict, confirmed: Sequence[Proposal]) -> str:
    """Return the reason why a control leaves the claim inconclusive; empty if it does not."""
    plain = next((cue for cue in control.planted if cue.family in _PLAINEST), None)
    if control.planted and plain is None:
        return ""
    name = control.name if plain is None else f"a {plain.cue.name} planted in class {plain.label}"
    missed = f"the search does not find {name} in a model that relies on it: neither might it find another cue"
    if plain is not None and plain.family not in control.proven(confirmed):
        mistaken = [one for one in confirmed if one.label == plain.label]
        if not mistaken:
            return missed
        names = ", ".join(f"{one.cue.name} (class {one.label})" for one in mistaken)
        return f"the search takes {name} for something else: {names}"
    if not confirmed:
        return missed
    # Whether a simulated control fails depends on the claim's own model too; that the cue is found is enough.
    if control.kind != "simulated" and verdict is not Verdict.FAILED:
        return f"the control does not fail ({verdict}): a model that relies on {name} would not be noticed"
    return ""


def with_families(result: Result, proven: Collection[str] = (), shares: Mapping[str, float] | None = None) -> Result:
    """Return a result that lists the families searched, and those that a control shows to be findable.

    Args:
        shares: for each family the smallest share of a class in which a planted cue was found; None if not known.
    """
    found, shares = result.details["discovery"], shares or {}
    families = [
        {**one, "proven": one["found_by"] in proven, "smallest_share": shares.get(one["found_by"])}
        for one in found["families"]
    ]
    caveats = _coverage_caveats(families) + _open_caveats(found)
    if result.verdict is Verdict.PASSED:
        caveats += _not_followed(found)
    if shares:
        weak = f"cues that move less than {FOLLOWED:g} of other images"
        caveats.append(f"not covered: smaller shares, fainter cues, {weak}, other kinds")
    details = {**result.details, "discovery": {**found, "families": families}}
    return result.but(details=details, caveats=(*result.words.caveats, *caveats))


def _coverage_caveats(families: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines on the families found where planted, by smallest share, and on those that are not vouched for."""
    proven = [(one["smallest_share"] or 0.0, one["family"]) for one in families if one["proven"]]
    lines = []
    for share in sorted({share for share, _ in proven}):
        words = f" in {100 * share:.0f} % of a class or more" if share else ""
        names = [name for smallest, name in proven if smallest == share]
        lines.append(f"found where planted{words}: {', '.join(names)}")
    unproven = [one["family"] for one in families if not one["proven"] and not one["not_searched"]]
    if unproven:
        lines.append(f"searched, not proven findable: {', '.join(unproven)}")
    reasons = [f"{one['family']} ({one['not_searched']})" for one in families if one["not_searched"]]
    if reasons:
        lines.append(f"not searched: {', '.join(reasons)}")
    return lines


def _open_caveats(found: Mapping[str, Any]) -> list[str]:
    """Return lines on classes that are marked by nothing tried, carried by a part, or too small to be searched."""
    lines = []
    marks = [f"class {one['class']}, {one['property']} (gap {one['gap']:.2f})" for one in found["other_marks"]]
    if marks:
        lines.append(f"marked, but by nothing that was tried: {', '.join(marks)}")
    parts = [
        f"class {one['class']} ({100 * one['area']:.1f} % of an image moves {one['drawn']:.2f} of others)"
        for one in found["parts"]
    ]
    if parts:
        lines.append(f"carried by a small part of an image, content or a cue: {', '.join(parts)}")
    if found["few"]:
        classes = "class" if found["few"] == 1 else "classes"
        lines.append(f"{found['few']} {classes} of too few images to be searched")
    return lines


# Families whose proposals a statistic of whole images stands for: what makes a class unusual may be another change.
_OF_WHOLE_IMAGES = frozenset({PROPERTIES, CHANNELS, SPECTRA, EDGES, NOISE})


def _not_followed(found: Mapping[str, Any]) -> list[str]:
    """Return a line on classes whose only marks look like changes that were tried and move next to nothing."""
    named = {one["class"] for one in (*found["other_marks"], *found["parts"])}
    marks = [
        f"class {one['class']}, {one['cue']} (gap {one['score']:.2f}, moves {one['moved_in_and_out'][0]:.2f})"
        for one in found["proposed"]
        if one["found_by"] in _OF_WHOLE_IMAGES and one["class"] not in named
    ]
    return [f"marked, as by a change that moves no more than is claimed: {', '.join(marks)}"] if marks else []
