"""Models: every kind of model becomes a `Classifier`, a batch in and logits out."""

from robustest.models.classifier import Classifier as Classifier
from robustest.models.classifier import Needs as Needs
from robustest.models.classifier import adapting as adapting
from robustest.models.classifier import as_classifier as as_classifier
from robustest.models.classifier import labels_model as labels_model
from robustest.models.classifier import scores_model as scores_model
from robustest.models.frameworks import jax_model as jax_model
from robustest.models.frameworks import keras_model as keras_model
from robustest.models.frameworks import tf_model as tf_model
from robustest.models.frozen import frozen as frozen
from robustest.models.zero_shot import ZeroShot as ZeroShot
