"""What settles each kind of claim: outcomes in, a decision out."""

from robustest.rules.averages.draws import DrawsRule as DrawsRule
from robustest.rules.averages.means import MeanRule as MeanRule
from robustest.rules.averages.score_baseline import ScoreBaselineRule as ScoreBaselineRule
from robustest.rules.baseline import BaselineRule as BaselineRule
from robustest.rules.certified import CertifiedRule as CertifiedRule
from robustest.rules.no_worse import NoWorse as NoWorse
from robustest.rules.rule import DropRule as DropRule
from robustest.rules.rule import Rule as Rule
from robustest.rules.rule import ShareRule as ShareRule
from robustest.rules.rule import Terms as Terms
