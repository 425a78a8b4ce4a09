"""Build csrc/ with CMake. All metadata lives in pyproject.toml.

PEAKRT_CUDA in the environment: AUTO (kernels for the GPU that is here), ON (for all), OFF; CMAKE_ARGS: more for CMake.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import cython_cmake
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
PACKAGE = ROOT / "python" / "peakrt"
CYTHON_CMAKE = Path(cython_cmake.__file__).parent / "cmake"


def cmake(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "cmake", *map(str, args)], check=True)


class CMakeBuild(build_ext):
    """Let CMake build the one extension module and, where nvcc works, the CUDA kernels."""

    def build_extension(self, ext: Extension) -> None:
        # --fresh: what an earlier isolated build cached points into a folder that is gone
        arguments = ["--fresh", "-G", "Ninja", "-S", ROOT, "-B", self.build_temp, "-DCMAKE_BUILD_TYPE=Release"]
        arguments += [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MODULE_PATH={CYTHON_CMAKE}"]
        arguments += [f"-DPEAKRT_CUDA={os.environ.get('PEAKRT_CUDA', 'AUTO')}"]
        cmake(*arguments, *shlex.split(os.environ.get("CMAKE_ARGS", "")))
        cmake("--build", self.build_temp)
        cmake("--install", self.build_temp, "--prefix", Path(self.get_ext_fullpath(ext.name)).parent)

    def copy_extensions_to_source(self) -> None:  # called by `pip install -e`
        cmake("--install", self.build_temp, "--prefix", PACKAGE)


setup(ext_modules=[Extension("peakrt._native", [])], cmdclass={"build_ext": CMakeBuild})
