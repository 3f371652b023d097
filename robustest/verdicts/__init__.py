"""Outcomes in, verdict out: the statistics of a gate."""

from robustest.verdicts.baseline import BaselineClaim as BaselineClaim
from robustest.verdicts.claims import Claim as Claim
from robustest.verdicts.claims import DropClaim as DropClaim
from robustest.verdicts.claims import ShareClaim as ShareClaim
from robustest.verdicts.claims import Terms as Terms
from robustest.verdicts.fixed import Decision as Decision
from robustest.verdicts.fixed import clopper_pearson as clopper_pearson
from robustest.verdicts.fixed import decide_share as decide_share
from robustest.verdicts.means import MeanClaim as MeanClaim
from robustest.verdicts.multiplicity import failure_level as failure_level
from robustest.verdicts.paired import decide_drop as decide_drop
from robustest.verdicts.paired import mcnemar as mcnemar
from robustest.verdicts.sequential import Settled as Settled
from robustest.verdicts.thresholds import checked_threshold as checked_threshold
from robustest.verdicts.thresholds import most as most
from robustest.verdicts.thresholds import need as need
