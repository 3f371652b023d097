"""What a model answers and how sure it is of it, sample by sample; a temperature fitted on other samples."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from robustest.data import as_samples
from robustest.decisions import Rule, ShareRule
from robustest.engine.answer_checks import check_beside
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.models import Classifier, Needs
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.run.finish import Changed
from robustest.run.plan import Plan, Setup
from robustest.shifts import Shift, ShiftedInputs, ShiftFunction, shift_as_asked

_TEMPERATURES = (0.02, 50.0)
"""What a fitted temperature may be."""

SCORES = ("msp", "max_logit", "energy")
"""Scores that are high where a model knows a sample's class: the largest probability (Hendrycks and Gimpel, ICLR 2017),
the largest logit (Hendrycks et al., ICML 2022), and the log of the sum of their exponentials (Liu et al., NeurIPS
2020).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Predictions of a chunk with their confidence; the surest errors may be shown.

    Attributes:
        examples: how many samples may be shown.
        shift: what is done to a sample first; None for nothing.
        temperature: what logits are divided by.
        probabilities: whether the model gives probabilities in place of logits.
        marked: whether a mark of each sample is kept, to tell it from others.
        whole: whether all log probabilities are kept.
        beside: samples (M, *S) among which the first few of a chunk are asked again; None leaves it out.
    """

    examples: int
    shift: Shift | None = None
    temperature: float = 1.0
    probabilities: bool = False
    marked: bool = False
    whole: bool = False
    beside: Tensor | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk.

        Raises:
            ModelError: the outputs are probabilities where logits were said, or the other way round.
        """
        if self.shift is None:
            never = torch.zeros(len(chunk.x), dtype=torch.bool, device=chunk.x.device)
            changed = ShiftedInputs(chunk.x, never, never)
        else:
            changed = self.shift.shifted(chunk.x, chunk.key, chunk.bounds)
        after = changed.x
        task, logits = evaluator.task, evaluator.logits(after)
        if self.beside is not None and self.beside.shape[1:] == after.shape[1:]:
            check_beside(evaluator, after, logits, self.beside.to(after))
        logs = self._logs(logits)
        held, predicted = task.holds(logits, chunk.y), task.predictions(logits)
        sure = logs.exp().amax(1)
        others = logs.scatter(1, predicted.unsqueeze(1), -torch.inf).logsumexp(1)
        columns: dict[str, Tensor] = {
            "held": held,
            "confidence": sure,
            "msp": logs.gather(1, predicted.unsqueeze(1)).squeeze(1) - others,  # its log odds, which do not saturate
            "max_logit": logits.amax(1).double(),
            "energy": logits.double().logsumexp(1),
            "brier": (logs.exp() - F.one_hot(chunk.y, logs.shape[1])).square().sum(1) / 2,
            "moved": changed.moved,
            "cut": changed.cut,
        }
        columns["score"] = 1 - columns["brier"]  # as a baseline compares it: more is better
        exhibits = exhibits_of(
            chunk,
            ~held,
            clean=predicted,
            predicted=predicted,
            before=chunk.x,
            after=after,
            badness=columns["msp"],
            size=None if self.shift is None else self.shift.level,
            most=self.examples,
        )
        arrays = {name: column.cpu().numpy() for name, column in columns.items()}
        if self.marked:
            arrays["mark"] = marks(chunk.x)
        if self.whole:
            arrays |= {"logs": logs.cpu().numpy(), "label": chunk.y.cpu().numpy()}
        return Observation(arrays, exhibits)

    def _logs(self, logits: Tensor) -> Tensor:
        """(n, K) float64 log probabilities."""
        given = logits.double()
        like = bool(((given >= 0) & (given <= 1)).all()) and bool(((given.sum(1) - 1).abs() < 1e-3).all())
        if like and not self.probabilities:
            raise ModelError(
                "Expected logits but the outputs are probabilities: their softmax would be flat. Say "
                "probabilities=True."
            )
        if self.probabilities and not like:
            raise ModelError("Expected probabilities that sum to 1 but the outputs are none. Leave probabilities= out.")
        logs = given.clamp(min=1e-300).log() if self.probabilities else given
        return torch.log_softmax(logs / self.temperature, 1)


def marks(x: Tensor) -> NDArray[np.uint64]:
    """(n,) a mark of each sample's values."""
    rows = x.cpu().contiguous().numpy()
    return np.array([int.from_bytes(sha256(row.tobytes()).digest()[:8], "big") for row in rows], dtype=np.uint64)


def asked_shift(shift: str | Shift | ShiftFunction | None, severity: int | None) -> Shift | None:
    """The shift that samples are seen under.

    Raises:
        ConfigError: a severity without a shift; else as `shift_as_asked`.
    """
    if shift is None and severity is not None:
        raise ConfigError(f"Expected shift= with severity={severity} but got none.")
    return None if shift is None else shift_as_asked(shift, severity)


def check_sure(model: Classifier) -> None:
    """Refuse a model without confidence.

    Raises:
        ConfigError: it gives labels alone.
    """
    if model.gives is Needs.LABELS:
        raise ConfigError("Expected scores to tell confidence by but the model gives labels alone.")


def sure_setup(setup: Setup, *, probabilities: bool) -> Setup:
    """The setup of a claim about confidence.

    Raises:
        ConfigError: the model gives labels alone.
    """
    check_sure(setup.model)
    if not probabilities:
        return setup
    return setup.but(suppress=(*setup.settings.suppress, "softmax_outputs"))


def fitted_temperature(setup: Setup, fit_data: object, *, probabilities: bool) -> tuple[float, Evidence]:
    """The temperature under which other samples are likeliest (Guo et al., ICML 2017), and what they showed."""
    look = Answering(examples=0, probabilities=probabilities, marked=True, whole=True)
    rule = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    seen = observe(setup.on(as_samples(fit_data)).unpictured().plan("a temperature, fitted", look, rule))
    logs, label = torch.from_numpy(seen.columns["logs"]), torch.from_numpy(seen.columns["label"])

    def loss(log_temperature: float) -> float:
        return float(F.nll_loss(torch.log_softmax(logs / np.exp(log_temperature), 1), label))

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x)), seen


def checked_temperature(temperature: object, fit_data: object) -> float:
    """A temperature as given.

    Raises:
        ConfigError: it is no number > 0, or samples to fit it on are given too.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < np.inf:
        raise ConfigError(expected("temperature to be a number > 0", temperature))
    if fit_data is not None and temperature != 1:
        raise ConfigError("Expected temperature= or fit_data= but got both: the one would replace the other.")
    return float(temperature)


def check_apart(judged: Evidence, fitted: Evidence | None) -> None:
    """Refuse samples that a temperature was fitted on.

    Raises:
        DataError: some of the judged samples are among them.
    """
    if fitted is None:
        return
    shared = int(np.isin(judged.columns["mark"], fitted.columns["mark"]).sum())
    if shared:
        raise DataError(
            f"Expected other samples to fit the temperature on but {shared} of the {judged.n} that "
            "are judged are among "
            "them: fitted to what it is judged by, it looks better than it is."
        )


def answers_plan(setup: Setup, statement: str, look: Answering, rule: Rule) -> Plan:
    """The plan of a claim about confidence: whoever asks for the same answers, they are remembered once."""
    kept = ("answers", look.marked, look.shift, look.temperature, look.probabilities)
    return setup.plan(statement, look, rule, identity=kept if look.beside is None else (*kept, look.beside))


def changed_by(evidence: Evidence, shift: Shift | None, *, worst: float) -> list[Changed]:
    """The samples that the shift changed, where there is one; `worst` as in `Changed`."""
    if shift is None:
        return []
    moved, cut = evidence.columns["moved"], evidence.columns["cut"]
    return [Changed(by=f"the shift {shift}", moved=moved, cut=cut, worst=worst)]


def about(shift: Shift | None) -> str:
    """A shift in the words of a claim."""
    return "" if shift is None else f" under {shift}"


def setting(shift: Shift | None) -> str:
    """A shift as results name it."""
    return "samples as they are" if shift is None else str(shift)
