"""Decisions: outcomes in, a verdict and an interval out. One file per question, with its statistics."""

from robustest.decisions.baseline import BaselineRule as BaselineRule
from robustest.decisions.baseline import NoWorse as NoWorse
from robustest.decisions.baseline import ScoreBaselineRule as ScoreBaselineRule
from robustest.decisions.drop import DropRule as DropRule
from robustest.decisions.drop import decide_drop as decide_drop
from robustest.decisions.drop import mcnemar as mcnemar
from robustest.decisions.mean import DrawsRule as DrawsRule
from robustest.decisions.mean import MeanRule as MeanRule
from robustest.decisions.rule import Decision as Decision
from robustest.decisions.rule import EarlyVerdict as EarlyVerdict
from robustest.decisions.rule import Rule as Rule
from robustest.decisions.rule import Terms as Terms
from robustest.decisions.rule import ThresholdRule as ThresholdRule
from robustest.decisions.rule import failure_level as failure_level
from robustest.decisions.share import CertifiedRule as CertifiedRule
from robustest.decisions.share import ShareRule as ShareRule
from robustest.decisions.share import clopper_pearson as clopper_pearson
from robustest.decisions.share import decide_share as decide_share
from robustest.decisions.thresholds import checked_not_both as checked_not_both
from robustest.decisions.thresholds import checked_threshold as checked_threshold
from robustest.decisions.thresholds import count_at_least as count_at_least
from robustest.decisions.thresholds import count_at_most as count_at_most
