"""What a model's answers are, and when they are right; one file a task."""

from robustest.tasks.classification import CLASSIFICATION as CLASSIFICATION
from robustest.tasks.classification import Classification as Classification
from robustest.tasks.protocol import Loss as Loss
from robustest.tasks.protocol import Task as Task
