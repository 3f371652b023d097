"""Deployed models for robustest: scores or labels over HTTP."""

from __future__ import annotations

from robustest_http.cassette import Cassette as Cassette
from robustest_http.chat import chat_function as chat_function
from robustest_http.credentials import HeaderFromEnv as HeaderFromEnv
from robustest_http.delivery import Delivery as Delivery
from robustest_http.endpoint import Multipart as Multipart
from robustest_http.open_inference import open_inference_model as open_inference_model
from robustest_http.plain import json_function as json_function
from robustest_http.plain import json_model as json_model
from robustest_http.presets import tf_serving_model as tf_serving_model
from robustest_http.presets import torchserve_model as torchserve_model

__all__ = [
    "Cassette",
    "Delivery",
    "HeaderFromEnv",
    "Multipart",
    "chat_function",
    "json_function",
    "json_model",
    "open_inference_model",
    "tf_serving_model",
    "torchserve_model",
]
