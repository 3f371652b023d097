"""Names for the packs that are released in step with robustest, beside those of `robustest.packs`.

Nothing is promised about them: a release changes them with the packs of its own version. Packs of others import from
`robustest.packs`, which keeps its names. A test holds each of these names to a pack that uses it.
"""

from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE as NO_SPURIOUS_FEATURE
from robustest.claims.cues.interventions import CueOutcomes as CueOutcomes
from robustest.claims.cues.interventions import with_control as with_control
from robustest.cues.patches import least_distances as least_distances
from robustest.cues.patches import nearest_places as nearest_places
from robustest.decisions import DropRule as DropRule
from robustest.decisions import MeanRule as MeanRule
from robustest.decisions.cues import CuePairs as CuePairs
from robustest.decisions.rate import AgreementRule as AgreementRule
from robustest.run.split_search import Bench as Bench
from robustest.run.split_search import Halves as Halves
from robustest.run.split_search import SecondModel as SecondModel
