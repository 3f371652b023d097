"""What settles each kind of claim: outcomes in, a decision out."""

from robustest.rules.baseline import BaselineClaim as BaselineClaim
from robustest.rules.means import MeanClaim as MeanClaim
from robustest.rules.rule import Claim as Claim
from robustest.rules.rule import DropClaim as DropClaim
from robustest.rules.rule import ShareClaim as ShareClaim
from robustest.rules.rule import Terms as Terms
