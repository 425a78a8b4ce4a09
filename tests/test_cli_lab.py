"""The laboratory's command line as a user sees it: help, sizes, what is missing."""

import re
import shutil
from collections import namedtuple
from dataclasses import fields
from pathlib import Path

import pytest

from peakrt_lab.cli import main
from peakrt_lab.simulate import Response, Scene

from .test_cli import EXTRAS, without


def test_every_option_of_simulate_has_words_and_a_default_that_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The defaults that the help shows, given back, simulate the same run as none."""
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    text = " ".join(capsys.readouterr().out.split()) + " "
    given: list[str] = []
    for config in (Scene, Response):
        for item in fields(config):
            if item.name == "gain_modes":
                continue
            name = f"--{item.name.replace('_', '-')}"
            found = re.search(rf" {name} (\S+) ([^\[]{{10,}}) \[(\S+)\] ", text)
            assert found, name
            given.append(f"{name}={found[3]}")
    (tmp_path / "a.geom").write_text(GEOM)
    for out, options in (("a.cxi", []), ("b.cxi", given)):
        assert main(["simulate", "-g", str(tmp_path / "a.geom"), "-o", str(tmp_path / out), "-n", "1", *options]) == 0
    frames = [read(tmp_path / name) for name in ("a.cxi", "b.cxi")]
    assert (frames[0] == frames[1]).all()


GEOM = """
photon_energy = 9500 eV
clen = 0.1 m
res = 13333
adu_per_photon = 1
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
p0/min_fs = 0
p0/max_fs = 63
p0/min_ss = 0
p0/max_ss = 63
p0/fs = x
p0/ss = y
p0/corner_x = -32
p0/corner_y = -32
"""


def read(path: Path) -> object:
    import h5py

    with h5py.File(path, "r") as file:
        return file["/entry_1/data_1/data"][:]


def test_simulate_says_its_size_and_asks_for_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 10**9))
    out = tmp_path / "big.cxi"
    assert main(["simulate", "-g", "jungfrau4m", "-n", "200", "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"peakrt-lab: error: .*big.cxi needs 3.4 GB, .* has 1.0 GB free: .*\n", error), error
    assert not out.exists()
    (tmp_path / "a.geom").write_text(GEOM)
    assert main(["simulate", "-g", str(tmp_path / "a.geom"), "-n", "1", "-o", str(out)]) == 0
    assert "big.cxi will have 1 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--dtype=banana", "expected a type of numpy"),
        ("--photons=1", "something like 100,10000"),
        ("--jet=often", "0.2"),
    ],
)
def test_wrong_values_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, message: str
) -> None:
    assert main(["simulate", "-g", "jungfrau1m", "-o", str(tmp_path / "a.cxi"), option]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate -g jungfrau1m -o a.cxi", r"peakrt-lab simulate needs scipy and gemmi: pip install '.\[lab\]'.*"),
        ("compare a.cxi b.cxi", r"peakrt-lab compare needs scipy: pip install '.\[lab\]'.*"),
        ("tune a.cxi", r"peakrt-lab tune needs scipy: pip install '.\[lab\]'.*"),
        ("report a.cxi -o b", r"peakrt-lab report needs scipy and matplotlib: pip install '.\[lab\]'.*"),
        ("train -o a.onnx --work w", r"training needs scipy and .* and torch: pip install '.\[train\]'.*"),
        ("adapt a.cxi --stream a.stream -o a.onnx", r"training needs .*: pip install '.\[train\]'.*"),
        ("evaluate a.cxi", r"a.cxi does not exist"),
    ],
)
def test_a_base_installation_says_what_a_command_needs(tmp_path: Path, arguments: str, message: str) -> None:
    done = without(EXTRAS, *arguments.split(), program="peakrt_lab")
    assert re.fullmatch(rf"peakrt-lab: error: {message}\n", done.stderr), done.stderr
    assert done.returncode == 1


def test_help_needs_no_extra() -> None:
    for command in ([], ["simulate"], ["compare"], ["evaluate"], ["train"], ["tune"], ["report"], ["adapt"]):
        done = without(EXTRAS, *command, "--help", program="peakrt_lab")
        assert (done.returncode, done.stderr) == (0, "")
