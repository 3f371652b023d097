"""Passes that the audit of `fast` adds, on rows of strength.py: forward + 2 x backward samples, with and without it.

    python benchmarks/audit.py DATA

DATA is the folder with models.py. A measurement without a threshold is not audited; a claim is, before it passes.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from overhead import shared_models
from strength import ROWS

from robustest import Result
from robustest.attacks import CASCADES, Cascade
from robustest.measure import measure_robust_accuracy

CLAIMS = ((1, (None, 0.5, 0.8)), (2, (None, 0.3, 0.45)), (4, (None, 0.4, 0.55)), (3, (None, 0.03)))
"""By row of strength.py, what is claimed: nothing, less than half of what there is, and nearly all of it."""


def passes(result: Result) -> int:
    return result.cost.forward + 2 * result.cost.backward


def main() -> None:
    torch.set_num_threads(1)
    shared = shared_models(sys.argv[1])
    audited = CASCADES["fast"]
    bare: Cascade = replace(audited, audit=())
    print("network, threat, claim, how, verdict, audited, broken, passes, without the audit, ratio")
    for number, claims in CLAIMS:
        row = ROWS[number]
        model, (x, y) = shared.load(row.network), shared.images(row.images, row.n)
        for claimed in claims:
            for exact in (True,) if claimed is None else (False, True):
                with_it, without = (
                    measure_robust_accuracy(model, (x, y), row.threat, attack=attack, at_least=claimed, exact=exact)
                    for attack in (audited, bare)
                )
                audit = with_it.details.get("audit", {"audited": 0, "broken": 0})
                print(
                    f"{row.network}, {row.threat}, {claimed}, {'all' if exact else 'early'}, {with_it.verdict.value}, "
                    f"{audit['audited']}, {audit['broken']}, {passes(with_it)}, {passes(without)}, "
                    f"{passes(with_it) / passes(without):.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
