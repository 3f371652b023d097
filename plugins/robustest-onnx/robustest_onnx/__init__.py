"""ONNX files as models for robustest: scores by onnxruntime, gradients by a converted torch graph."""

from __future__ import annotations

from robustest_onnx.frames import Frames as Frames
from robustest_onnx.model import onnx_model as onnx_model

__all__ = ["Frames", "onnx_model"]
