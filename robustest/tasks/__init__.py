"""What a model's answers are, and when they are right; one file a task."""

from robustest.tasks.classification import CLASSIFICATION as CLASSIFICATION
from robustest.tasks.classification import Classification as Classification
from robustest.tasks.detection import Detection as Detection
from robustest.tasks.detectors import AdaptedCall as AdaptedCall
from robustest.tasks.detectors import AdaptedModule as AdaptedModule
from robustest.tasks.detectors import MaiteDetector as MaiteDetector
from robustest.tasks.detectors import TorchvisionDetector as TorchvisionDetector
from robustest.tasks.named import TASKS as TASKS
from robustest.tasks.named import checked_task as checked_task
from robustest.tasks.protocol import Counting as Counting
from robustest.tasks.protocol import Loss as Loss
from robustest.tasks.protocol import Sided as Sided
from robustest.tasks.protocol import Stratified as Stratified
from robustest.tasks.protocol import Task as Task
from robustest.tasks.regression import Regression as Regression
from robustest.tasks.segmentation import Segmentation as Segmentation
from robustest.tasks.several_labels import MultiLabel as MultiLabel
from robustest.tasks.worst_score import WorstScore as WorstScore
