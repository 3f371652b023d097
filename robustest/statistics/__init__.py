"""The statistics behind the rules: sequential tests, bets, exact intervals, paired and clustered differences."""

from robustest.statistics.differences.paired import decide_drop as decide_drop
from robustest.statistics.differences.paired import mcnemar as mcnemar
from robustest.statistics.fixed import Decision as Decision
from robustest.statistics.fixed import clopper_pearson as clopper_pearson
from robustest.statistics.fixed import decide_share as decide_share
from robustest.statistics.multiplicity import failure_level as failure_level
from robustest.statistics.sequential import Settled as Settled
from robustest.statistics.thresholds import asked_threshold as asked_threshold
from robustest.statistics.thresholds import checked_not_both as checked_not_both
from robustest.statistics.thresholds import checked_threshold as checked_threshold
from robustest.statistics.thresholds import most as most
from robustest.statistics.thresholds import need as need
