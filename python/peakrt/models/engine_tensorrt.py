"""Networks on a GPU through TensorRT 10, 11 or TensorRT-RTX, which share what is used here.

Precision is what the model file says (TensorRT 11 and RTX are strongly typed, 10 is asked to be): fp32, fp16, or int8
where the file carries Q/DQ nodes. An engine is built once for a GPU, driver, TensorRT, model and shape, kept in the cache, and
runs on a stream and in memory that the caller owns.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..gpu.batches import load_cupy
from . import engine_cache
from .model_file import Model

Shape = tuple[int, ...]
_MODULES = ("tensorrt", "tensorrt_rtx")


def load_tensorrt() -> Any:
    """TensorRT's or TensorRT-RTX's module. Raises RuntimeError that says how to get one."""
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise RuntimeError(
        "engine tensorrt needs TensorRT: pip install tensorrt, or tensorrt-rtx for GeForce and RTX; or use engine cuda, "
        "which needs neither"
    )


def _logger(trt: Any) -> Any:
    """A logger that keeps errors, for the message of the exception."""

    class Errors(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Errors()


def build_engine(trt: Any, model: Model, shape: Shape, *, least: Shape | None = None) -> bytes:
    """Build a model's engine for inputs of a shape; needs no GPU with TensorRT-RTX.

    shape : of the input, the one to be fast at and the largest; least : the smallest, by default the same
    Raises RuntimeError with TensorRT's own words if it cannot.
    """
    logger = _logger(trt)
    builder = trt.Builder(logger)
    if builder is None:
        raise RuntimeError(f"TensorRT cannot start: {_words(logger)}")
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.content):
        errors = "; ".join(parser.get_error(k).desc() for k in range(parser.num_errors))
        raise RuntimeError(f"TensorRT cannot read model {model.name}: {errors}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, least or shape, shape, shape)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError(f"TensorRT cannot build an engine of model {model.name}: {_words(logger)}")
    return bytes(engine)


def _words(logger: Any) -> str:
    return " ".join("; ".join(logger.errors).split()) or "it does not say why"


def built_for(trt: Any, model: Model, shape: Shape) -> dict[str, Any]:
    """What an engine is good for: the key of the cache. Without a GPU, for none."""
    try:
        runtime = load_cupy().cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        gpu = f"{properties['name'].decode()} {properties['major']}.{properties['minor']}"
        driver = runtime.driverGetVersion()
    except RuntimeError:
        gpu, driver = "none", 0
    library = f"{trt.__name__} {trt.__version__}"
    return {"gpu": gpu, "driver": driver, "library": library, "model": model.digest, "shape": list(shape)}


def get_engine(model: Model, shape: Shape) -> bytes:
    """A model's engine for inputs of a shape, from the cache or built now. Raises RuntimeError without TensorRT."""
    trt = load_tensorrt()
    return engine_cache.cached(built_for(trt, model, shape), lambda: build_engine(trt, model, shape))


class TensorRTEngine:
    """Runs a model on inputs of one shape, on the device: ``enqueue(stream, inputs, outputs)``, all addresses.

    One engine may not run on two streams at a time: make one for each. Its working memory is CuPy's.
    Raises RuntimeError without TensorRT or GPU, or if TensorRT refuses the engine.
    """

    def __init__(self, model: Model, shape: Shape) -> None:
        trt, cupy = load_tensorrt(), load_cupy()
        self._logger = _logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(get_engine(model, shape))
        if self._engine is None:
            raise RuntimeError(f"TensorRT refuses the engine of model {model.name}: {_words(self._logger)}")
        self._context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        kinds = [self._engine.get_tensor_mode(name) for name in names]
        (self._input,) = (n for n, kind in zip(names, kinds, strict=True) if kind == trt.TensorIOMode.INPUT)
        (self._output,) = (n for n, kind in zip(names, kinds, strict=True) if kind == trt.TensorIOMode.OUTPUT)
        self._context.set_input_shape(self._input, shape)
        size = int(self._engine.device_memory_size_v2)
        self._memory = cupy.empty(max(1, size), "u1")
        self._context.set_device_memory(self._memory.data.ptr, size)

    def enqueue(self, stream: int, inputs: int, outputs: int) -> None:
        """Queue the network on a stream."""
        self._context.set_tensor_address(self._input, inputs)
        self._context.set_tensor_address(self._output, outputs)
        if not self._context.execute_async_v3(stream):
            raise RuntimeError(f"TensorRT cannot run the engine: {_words(self._logger)}")


def engine_for(model: Model, shape: Shape) -> TensorRTEngine:
    """A slot's engine of a model, for inputs of a shape."""
    return TensorRTEngine(model, shape)
