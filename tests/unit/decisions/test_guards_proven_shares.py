"""Guards of claims on what nothing can break: proofs bound the share from below, the attack's survivors from above."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np
import pytest

from robustest.decisions.rule import Terms
from robustest.decisions.share import CertifiedRule
from robustest.results import Verdict

N = 10
TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


def rows(proven: int, held: int) -> dict[str, Any]:
    """Samples of which so many are proven, and more survive the attack; the others come first."""
    place = np.arange(N)
    return {"held": place >= N - held, "proven": place >= N - proven}


@pytest.mark.parametrize("threshold", [0.5, 0.45, 1.0, None])
@pytest.mark.parametrize("proofs_alone", [True, False])
@pytest.mark.parametrize("drawn", [True, False, None])
def test_proofs_pass_a_claim_and_broken_samples_fail_it(
    drawn: bool | None, proofs_alone: bool, threshold: float | None
) -> None:
    more = {} if drawn is None else {"drawn": drawn}
    claim = CertifiedRule(threshold=threshold, terms=TERMS, proofs_alone=proofs_alone, **more)
    for proven, held in product(range(N + 1), repeat=2):
        if proven > held:
            continue
        columns = rows(proven, held)
        found = claim.decide(columns, N, claim.settle(columns, N))
        assert found.interval == (proven / N, held / N)
        assert found.estimate == (proven if proofs_alone else held) / N
        assert found.at_alpha is bool(drawn)
        if threshold is None:
            assert found.verdict is Verdict.INCONCLUSIVE
            continue
        need = ceil(N * threshold)
        by_proof, by_attack = proven >= need, held >= need
        if by_proof or (by_attack and not proofs_alone):
            assert found.verdict is Verdict.PASSED
        else:
            assert found.verdict is (Verdict.INCONCLUSIVE if by_attack else Verdict.FAILED)
        assert found.proven is by_proof
        assert ("open: " in found.rule) is (by_attack and not by_proof and proofs_alone)


@pytest.mark.parametrize("proofs_alone", [True, False])
def test_a_claim_settles_by_its_proofs_or_by_what_is_broken(proofs_alone: bool) -> None:
    claim = CertifiedRule(threshold=0.5, terms=TERMS, proofs_alone=proofs_alone)
    for proven, held in product(range(N + 1), repeat=2):
        if proven > held:
            continue
        found = claim.settle(rows(proven, held), N)
        verdict = Verdict.PASSED if proven >= 5 or (held >= 5 and not proofs_alone) else Verdict.FAILED
        if held >= 5 > proven and proofs_alone:
            assert found is None
        else:
            assert found is not None
            assert (found.verdict, found.certain) == (verdict, True)
            # The last of five that pass, or of six that fail.
            last = N - (proven if proven >= 5 else held) + 5 if verdict is Verdict.PASSED else 6
            assert found.after == last
    part = claim.for_part(Terms(scope="set", alpha=0.5, fail_alpha=0.2))
    assert (part.terms.alpha, part.threshold, part.proofs_alone) == (0.5, 0.5, proofs_alone)
    assert (part.held.column, part.proven.column) == ("held", "proven")
