"""Repairs of a model that failed a claim: a model and data in, a new model and a log out.

The given model stays unchanged. Claim again on the new one: pass `claim=`, or run the test.
"""

from robustest_training.constructed import Constructed as Constructed
from robustest_training.constructed import mislabelled as mislabelled
from robustest_training.constructed import robustified as robustified
from robustest_training.repair.adversarial import CueFit as CueFit
from robustest_training.repair.adversarial import adversarial_training as adversarial_training
from robustest_training.repair.adversarial import cue_fit as cue_fit
from robustest_training.repair.annotations import Selections as Selections
from robustest_training.repair.annotations import frequency_weighted_training as frequency_weighted_training
from robustest_training.repair.annotations import multilabel_training as multilabel_training
from robustest_training.repair.augmentation import counterfactual_training as counterfactual_training
from robustest_training.repair.augmentation import shift_training as shift_training
from robustest_training.repair.class_balance import balanced_training as balanced_training
from robustest_training.repair.class_balance import logit_adjusted_training as logit_adjusted_training
from robustest_training.repair.class_balance import logit_adjustment as logit_adjustment
from robustest_training.repair.group_dro import group_dro as group_dro
from robustest_training.repair.last_layer import last_layer_retraining as last_layer_retraining
from robustest_training.repair.log import EpochLog as EpochLog
from robustest_training.repair.log import PartChange as PartChange
from robustest_training.repair.log import Repaired as Repaired
from robustest_training.repair.log import RepairLog as RepairLog
from robustest_training.repair.trainer import Checkpoint as Checkpoint
from robustest_training.repair.trainer import Recipe as Recipe
from robustest_training.repair.training import TrainingOptions as TrainingOptions
