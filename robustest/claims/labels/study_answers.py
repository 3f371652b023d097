"""Evidence of claims about answers alone, where no model is asked anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustest.data.responses import Responses
from robustest.errors import ConfigError, DataError, expected
from robustest.run.evidence import Evidence
from robustest.statistics import Decision


def evidence_of(held: NDArray[np.bool_], decision: Decision) -> Evidence:
    """Evidence whose units are answers, all of them looked at.

    Args:
        held: (R,) whether each speaks for the claim.
        decision: what they add up to.
    """
    ids = np.arange(len(held))
    return Evidence(
        decision=decision,
        columns={"held": held, "id": ids},
        ids=ids,
        total=len(held),
    )


def checked_study(study: object, why: str) -> Responses:
    """The answers of a study, all of them of known annotators.

    Args:
        study: as a user gives it.
        why: what annotators are needed for, for the error.

    Raises:
        ConfigError: it is no study.
        DataError: there are no answers, or it is not known who gave one.
    """
    if not isinstance(study, Responses):
        raise ConfigError(expected("a study's answers, such as Responses.from_csv(...) gives", study))
    if not len(study):
        raise DataError("Expected answers of annotators but the study has none.")
    study.known_annotators(why)
    return study
