"""Names for the packs that are released in step with robustest, beside those of `robustest.packs`.

Nothing is promised about them: a release changes them with the packs of its own version. Packs of others import from
`robustest.packs`, which keeps its names.
"""

from robustest.checks import checked_images as checked_images
from robustest.checks import require as require
from robustest.claims.cues.interventions import CUE_NAMES as CUE_NAMES
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE as NO_SPURIOUS_FEATURE
from robustest.claims.cues.interventions import CueMeasurement as CueMeasurement
from robustest.claims.cues.interventions import checked_by_null_cue as checked_by_null_cue
from robustest.claims.cues.interventions import cue_details as cue_details
from robustest.claims.cues.interventions import with_control as with_control
from robustest.cues.cue import Colour as Colour
from robustest.cues.cue import Drawn as Drawn
from robustest.cues.cue import Irreversible as Irreversible
from robustest.cues.cue import planted_at as planted_at
from robustest.cues.cue import sample_keys as sample_keys
from robustest.cues.patches import CutOut as CutOut
from robustest.cues.patches import least_distances as least_distances
from robustest.cues.patches import nearest_places as nearest_places
from robustest.cues.whole_images import frequency_radius as frequency_radius
from robustest.decisions import DropRule as DropRule
from robustest.decisions import MeanRule as MeanRule
from robustest.decisions.cues import CLASSES as CLASSES
from robustest.decisions.cues import CuePairs as CuePairs
from robustest.decisions.cues import CueRule as CueRule
from robustest.decisions.cues import draw_p_values as draw_p_values
from robustest.decisions.cues import off_column as off_column
from robustest.decisions.cues import on_column as on_column
from robustest.decisions.rate import AgreementRule as AgreementRule
from robustest.engine.answer_checks import check_forward as check_forward
from robustest.engine.ascent import grey as grey
from robustest.engine.ascent import maximised as maximised
from robustest.engine.features import features_of as features_of
from robustest.engine.gradient_checks import probe_gradient as probe_gradient
from robustest.models import Needs as Needs
from robustest.models.last_layer import LastLayer as LastLayer
from robustest.models.last_layer import last_layer as last_layer
from robustest.run.evidence import OtherModel as OtherModel
from robustest.run.split_search import Bench as Bench
from robustest.run.split_search import Halves as Halves
from robustest.run.split_search import bench as bench
from robustest.run.split_search import beside as beside
from robustest.run.split_search import with_search as with_search
from robustest.run.split_search import with_second as with_second
from robustest.tasks.class_losses import cross_entropy as cross_entropy
