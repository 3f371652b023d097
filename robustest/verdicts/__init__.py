"""Outcomes in, verdict out: the statistics of a gate."""

from robustest.verdicts.fixed import Decision as Decision
from robustest.verdicts.fixed import clopper_pearson as clopper_pearson
from robustest.verdicts.fixed import decide_share as decide_share
from robustest.verdicts.paired import decide_drop as decide_drop
from robustest.verdicts.paired import mcnemar as mcnemar
from robustest.verdicts.thresholds import checked_threshold as checked_threshold
from robustest.verdicts.thresholds import most as most
from robustest.verdicts.thresholds import need as need
