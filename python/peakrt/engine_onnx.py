"""The networks on a CPU, through ONNX Runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .model import Model

Floats = npt.NDArray[np.float32]


class OnnxEngine:
    """Scores candidates, ``engine(numbers)`` gives the probability of each, or pixels, that of each of their classes.

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
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input, self._output = inputs[0].name, outputs[0].name
        self._kind = np.float16 if inputs[0].type == "tensor(float16)" else np.float32

    def __call__(self, inputs: Floats) -> Floats:
        """Probabilities: of candidates (n,) from (n, features); of pixels (n, class, ss, fs) from (n, channel, ss, fs)."""
        if len(inputs) == 0:
            return np.zeros(0, np.float32)
        (scores,) = self._session.run([self._output], {self._input: inputs.astype(self._kind, copy=False)})
        return np.asarray(scores, np.float32)
