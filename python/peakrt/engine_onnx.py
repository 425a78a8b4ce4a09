"""The judge on a CPU, through ONNX Runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .model import Model

Floats = npt.NDArray[np.float32]


class OnnxEngine:
    """Scores candidates: ``engine(numbers)`` gives the probability of each, (n,) float32.

    One engine may serve many threads. threads : that one call uses
    Raises ImportError, with the remedy, where ONNX Runtime is missing, and ValueError for a damaged model.
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("the network needs ONNX Runtime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise ValueError(f"model {model.name} cannot be loaded: {error}") from error

    def __call__(self, numbers: Floats) -> Floats:
        """Probability of each candidate: numbers (n, features)."""
        if len(numbers) == 0:
            return np.zeros(0, np.float32)
        (scores,) = self._session.run(["scores"], {"numbers": numbers})
        return np.asarray(scores, np.float32)
