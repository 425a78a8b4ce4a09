"""The networks on a CPU, through ONNX Runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..memory import wants_memory
from .model_file import Model

Floats = npt.NDArray[np.float32]
_CLASSES = 3  # background, peak and artifact: see finders/segmentation.py


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
            # With its fallback, which is the same provider here, it prints lines of its own about a damaged model
            self._session = onnxruntime.InferenceSession(
                model.content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise ValueError(f"model {model.name} cannot be loaded: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"model {model.name} has {len(inputs)} inputs and {len(outputs)} outputs: one of each is expected"
            )
        self._name = model.name
        self._input, self._output = inputs[0].name, outputs[0].name
        self._kind = np.float16 if inputs[0].type == "tensor(float16)" else np.float32

    def __call__(self, inputs: Floats) -> Floats:
        """Probabilities: of candidates (n,) from (n, features); of pixels (n, class, ss, fs) from (n, channel, ss, fs).

        Raises ValueError for a model that fails, or gives another shape or what is no number.
        """
        if len(inputs) == 0:
            return np.zeros(0, np.float32)
        try:
            (found,) = self._session.run([self._output], {self._input: inputs.astype(self._kind, copy=False)})
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            if wants_memory(error):
                raise MemoryError(f"there is too little memory for model {self._name}") from error
            raise ValueError(f"model {self._name} cannot be run on inputs of shape {inputs.shape}: {error}") from error
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or not _fits(found.shape, inputs.shape):
            shape = found.shape if isinstance(found, np.ndarray) else type(found).__name__
            raise ValueError(
                f"model {self._name} gives {shape} for inputs of shape {inputs.shape}: one score each is expected"
            )
        scores = np.asarray(found, np.float32)
        if not np.isfinite(scores.sum()):  # finite only if all are: probabilities do not overflow
            raise ValueError(f"model {self._name} gives scores that are no numbers")
        return scores


def _fits(given: tuple[int, ...], inputs: tuple[int, ...]) -> bool:
    """Whether scores have the shape for inputs: (n,) for candidates; (n, classes, ss, fs) for pixels."""
    if len(inputs) == 2:
        return given == inputs[:1]
    return len(given) == 4 and given[0] == inputs[0] and given[1] >= _CLASSES and given[2:] == inputs[2:]
