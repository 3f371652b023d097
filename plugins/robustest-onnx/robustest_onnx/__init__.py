"""ONNX files as models for robustest: scores by onnxruntime, gradients by a converted torch graph."""

from __future__ import annotations

from robustest_onnx.model import onnx_model as onnx_model

__all__ = ["onnx_model"]
