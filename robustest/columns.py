"""Names of the columns of the inputs that a model was shown, and the kinds of inputs that they hold."""

# - ALONE: the model was asked about the sample as it is, once.
# - AGAIN: it was asked a second time, and about nothing else: the change left the sample as it was.
# - CHANGED: it was asked about other values, beyond rounding.
# - APART: it was asked about inputs that are not aligned with the samples (frames, crops, joined rows).
# - PAST: it was not asked at all, or past the evaluator, which then knows nothing.

from __future__ import annotations

from typing import Final

ALONE: Final = 0
AGAIN: Final = 1
CHANGED: Final = 2
APART: Final = 3
PAST: Final = 4

SHOWN: Final = "shown"
"""Column of the inputs that the model was shown of each sample: `ALONE`, `AGAIN`, `CHANGED`, `APART` or `PAST`."""
ANSWER: Final = "answer"
"""Column of the model's answer to each sample, in one number; NaN where no look asked for it."""
LEAD: Final = "lead"
"""Column of a number of the scores of these answers."""
