"""What claims on people's answers share: checks, details of what was left out, evidence of answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Decision, Evidence
from robustest_people.responses import Responses
from robustest_people.statistics.uniform_sample import LEVEL, Uniformity, uniformity


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


def checked_responses(responses: object) -> Responses:
    """What annotators answered about samples, as a user gives it.

    Raises:
        ConfigError: they are no responses.
    """
    if not isinstance(responses, Responses):
        raise ConfigError(expected("responses such as Responses.from_csv(...) gives", responses))
    return responses


def check_about(responses: Responses, n: int) -> None:
    """Refuse answers that are not about the samples of a data set of this size.

    Raises:
        DataError: they are of more or fewer items.
    """
    if responses.size != n:
        raise DataError(f"Expected answers about a data set of {n} samples but got some about {responses.size} items.")


def left_out(responses: Responses) -> dict[str, Any]:
    """Details of the answers that count for nothing, and of who gave them."""
    return {
        "repeats": responses.repeats,
        "dropped": responses.dropped,
        "inattentive": list(responses.inattentive),
    }


def uniformity_of(
    items: NDArray[np.int64], label: NDArray[np.int64], marks: Mapping[str, NDArray[np.int64]], seed: int
) -> Uniformity | None:
    """Return the strongest sign that the items with an answer were chosen; None where all have one.

    Args:
        items: (n,) positions of the items with an answer.
        label: (N,) the class of each item that there is.
        marks, seed: as for `uniformity`.
    """
    return uniformity(items, len(label), label=label, marks=marks, seed=seed) if len(items) < len(label) else None


def chosen_sample(sign: Uniformity | None, n: int, total: int) -> str:
    """Return why a sample cannot have been drawn uniformly, and what to do; empty where nothing speaks against it.

    Args:
        sign: as `uniformity_of` returns it.
        n, total: sizes of the sample and of the set.
    """
    if sign is None or not sign.chosen:
        return ""
    draw = f"numpy.random.default_rng(0).choice({total}, {n}, replace=False)"
    return (
        f"{sign}. Expected items drawn uniformly, as {draw} draws them, and answers about these alone: leave out what "
        "was looked at besides, or look at the rest"
    )


def uniformity_details(sign: Uniformity | None) -> dict[str, Any]:
    """Return what the tests of uniformity found, as a result's details; empty where nothing was tested."""
    if sign is None:
        return {}
    found = {"p": sign.p, "level": LEVEL, "tests": sign.tests, "seen": sign.seen, "expected": sign.expected}
    return {"uniformity": {"sign": sign.what, **found}}


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
