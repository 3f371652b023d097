"""Class frequencies of training data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import Classifier
from robustest.data import Samples
from robustest.errors import DataError
from robustest.packs import Evaluator, frozen

_READ = 512
_LOOKED_AT = 8


@dataclass(frozen=True, slots=True, eq=False)
class ClassShares:
    """Labels and class frequencies."""

    labels: Tensor  # (N,) int64
    counts: Tensor  # (K,) int64, each >= 1
    outputs: Tensor  # (n, K) float32, the model's outputs for the first few samples

    @property
    def log_priors(self) -> Tensor:
        """Return (K,) float64, the log of each class's share."""
        return (self.counts.double() / self.counts.sum()).log()

    @classmethod
    def of(cls, classifier: Classifier, samples: Samples) -> ClassShares:
        """Return the shares of all classes of a model.

        Raises:
            DataError: a label is no class of the model, or the data have no sample of a class.
        """
        labels = labels_of(samples)
        with torch.inference_mode(False), frozen(classifier.module) as notes:
            device = classifier.device or torch.device("cpu")
            evaluator = Evaluator(classifier, device, batch_size=None, suppress=("softmax_outputs",), notes=notes)
            few = samples.take(torch.arange(min(_LOOKED_AT, len(samples))))[0]
            outputs = evaluator.logits(few.to(device)).cpu()
            evaluator.settle()
            evaluator.check_labels(labels)
        counts = torch.bincount(labels, minlength=evaluator.classes)
        if bool((counts == 0).any()):
            missing = (counts == 0).nonzero().flatten().tolist()
            raise DataError(
                f"Expected samples of each of the model's {len(counts)} classes but got none of {missing[:5]}. A class "
                "that was never seen has no share to be weighed by: give samples of it, or a model without it."
            )
        return cls(labels, counts, outputs)


def labels_of(samples: Samples) -> Tensor:
    """Return (N,) int64 labels, in the order of the data."""
    # By parts: inputs may not fit into memory.
    return torch.cat([samples.take(ids)[1] for ids in torch.split(torch.arange(len(samples)), _READ)])
