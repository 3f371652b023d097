"""Mending a model that failed a claim: a model and data in, a new model and a log of what was done out.

The model that was given stays as it is. What failed is claimed again on the new one: pass `claim=`, or run the test.
"""

from robustest.engine.constructed import Constructed as Constructed
from robustest.engine.constructed import mislabelled as mislabelled
from robustest.engine.constructed import robustified as robustified
from robustest.repair.by_training.adversarial import adversarial_training as adversarial_training
from robustest.repair.by_training.augmentation import counterfactual_training as counterfactual_training
from robustest.repair.by_training.augmentation import shift_training as shift_training
from robustest.repair.by_training.balanced import balanced_training as balanced_training
from robustest.repair.by_training.group_dro import group_dro as group_dro
from robustest.repair.by_training.last_layer import last_layer_retraining as last_layer_retraining
from robustest.repair.by_training.logit_adjustment import logit_adjusted_training as logit_adjusted_training
from robustest.repair.by_training.logit_adjustment import logit_adjustment as logit_adjustment
from robustest.repair.by_training.multilabel import multilabel_training as multilabel_training
from robustest.repair.by_training.selection_frequency import frequency_weighted_training as frequency_weighted_training
from robustest.repair.checkpoints import Checkpoint as Checkpoint
from robustest.repair.fits import CueFit as CueFit
from robustest.repair.fits import cue_fit as cue_fit
from robustest.repair.log import EpochLog as EpochLog
from robustest.repair.log import PartChange as PartChange
from robustest.repair.log import Repaired as Repaired
from robustest.repair.log import RepairLog as RepairLog
from robustest.repair.recipe import Recipe as Recipe
from robustest.repair.training import TrainingOptions as TrainingOptions
