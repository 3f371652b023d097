"""Deployed models for robustest: scores or labels over HTTP."""

from __future__ import annotations

from robustest_http.credentials import HeaderFromEnv as HeaderFromEnv
from robustest_http.delivery import Delivery as Delivery
from robustest_http.endpoint import Multipart as Multipart
from robustest_http.open_inference import open_inference_model as open_inference_model
from robustest_http.plain import json_function as json_function
from robustest_http.plain import json_model as json_model

__all__ = ["Delivery", "HeaderFromEnv", "Multipart", "json_function", "json_model", "open_inference_model"]
