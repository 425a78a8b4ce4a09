"""The house rules that a machine can hold: who imports whom, what import peakrt pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "peakrt": ROOT / "python/peakrt",
    "peakrt_lab": ROOT / "python/peakrt_lab",
    "peakrt_plugin": ROOT / "plugin/peakrt_plugin",
    "peakrt_geometry": ROOT / "geometry/peakrt_geometry",
}
MAY = {
    "peakrt_geometry": set(),
    "peakrt": {"peakrt_geometry"},
    "peakrt_plugin": {"peakrt", "peakrt_geometry"},
    "peakrt_lab": {"peakrt", "peakrt_geometry"},
}
DATA_TYPES = {"event", "peaks", "config", "stream_file"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(FOLDERS))
def test_who_imports_whom(package: str) -> None:
    for path in FOLDERS[package].rglob("*.py"):
        ours = {name for name in imports(path) if name in FOLDERS} - {package}
        assert ours <= MAY[package], f"{path.name} imports {ours - MAY[package]}"


def test_data_types_import_only_numpy() -> None:
    standard = set(sys.stdlib_module_names)
    for name in DATA_TYPES:
        assert imports(FOLDERS["peakrt"] / f"{name}.py") - standard <= {"numpy"}


#: Modules and folders of peakrt: each imports from its own row and from those above.
ROWS = (
    "event peaks config stream_file arrays hdf5_items npy filters environment extras signals memory _native",
    "contracts finders masks models gpu finder",
    "sources cxi screening writers",
    "search pipeline progress mpi distributed serve live pictures monitor info bench",
    "commands cli",
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row.split()}


def rooms_imported(path: Path) -> set[str]:
    """Modules and folders at the top of peakrt that a file of it imports."""
    folder = path.relative_to(FOLDERS["peakrt"]).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1]
            module = tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, *module, name.name)[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("peakrt."):
            found.add((node.module or "").split(".")[1])
    return found


def test_no_import_runs_down_the_rows() -> None:
    for path in FOLDERS["peakrt"].rglob("*.py"):
        room = path.relative_to(FOLDERS["peakrt"]).with_suffix("").parts[0]
        if room == "__init__":
            continue
        lower = {other for other in rooms_imported(path) - {room} if ROW_OF[other] > ROW_OF[room]}
        assert not lower, f"{path.relative_to(ROOT)} imports {lower}"


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = [line for line in text[text.index("Inside `peakrt`") :].splitlines() if line.startswith("| ")][1:6]
    for row, line in zip(ROWS, table, strict=True):
        for name in row.split():
            assert f"`{name}`" in line or f"`{name}/`" in line, f"{name} is not in {line[:40]}"
    here = {
        path.stem for path in FOLDERS["peakrt"].iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert here - {"__init__"} == set(ROW_OF) - {"_native"}


#: Command lines, their commands, and the program that DIALS' own Python runs.
PROGRAMS = ("cli.py", "dials_program.py")


def is_program(path: Path) -> bool:
    return path.name in PROGRAMS or path.parent.name == "commands"


def test_only_programs_print_or_exit_and_nothing_evaluates() -> None:
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            never = {"eval", "exec"} | (set() if is_program(path) else {"print", "sys.exit", "exit", "quit"})
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in never, f"{path}:{node.lineno}: {called}"


def test_import_peakrt_is_light() -> None:
    heavy = [
        "onnxruntime",
        "lightgbm",
        "torch",
        "cupy",
        "tensorrt",
        "psana",
        "mpi4py",
        "matplotlib",
        "h5py",
        "scipy",
        "gemmi",
        "fabio",
    ]
    code = f"import sys, peakrt; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_one_file_speaks_mpi_and_the_runtime_no_torch() -> None:
    speakers = {path.name for path in FOLDERS["peakrt"].rglob("*.py") if "mpi4py" in imports(path)}
    assert speakers == {"mpi.py", "ranks.py"}
    for folder in ("peakrt", "peakrt_plugin", "peakrt_geometry"):
        for path in FOLDERS[folder].rglob("*.py"):
            assert not imports(path) & {"torch", "lightgbm", "onnx"}, path


def test_simulation_and_evaluation_need_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import peakrt_lab.cli, peakrt_lab.report, peakrt_lab.tune, peakrt_lab.recipe, peakrt_lab.dataset"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_unpickles() -> None:
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            assert not imports(path) & {"pickle", "dill", "joblib", "marshal", "shelve"}, path
            assert "allow_pickle=True" not in path.read_text(), path


def test_the_documentation_lists_every_column() -> None:
    from peakrt.cxi.columns import EVENT_COLUMNS, N_PEAKS, PEAK_COLUMNS, PROGRESS, SCREENING_COLUMNS

    text = (ROOT / "docs/cxi.md").read_text()
    for column in (*PEAK_COLUMNS, *EVENT_COLUMNS):
        assert f"| `{column.path}` |" in text
        assert column.meaning in text
    for path, meaning in SCREENING_COLUMNS.items():
        assert f"| `{path}` |" in text
        assert meaning in text
    assert N_PEAKS in text
    assert PROGRESS in text


def test_the_readme_names_every_detector() -> None:
    from peakrt_geometry import detector_names

    text = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in text for name in detector_names())
