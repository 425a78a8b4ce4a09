"""The command line as a user sees it: help, choices, units, summaries."""

import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from peakrt.cli import build_parser, main
from peakrt.config import CandidateConfig, HitConfig, OutputConfig
from peakrt.finders.registry import FINDERS
from peakrt.progress import Progress
from peakrt.search import Summary


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_groups_the_options_by_finder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    groups = {part.splitlines()[0].rstrip(":"): part for part in help_of(capsys, "find").split("\n\n")}
    for name, kind in FINDERS.items():
        mine = "".join(part for title, part in groups.items() if title.startswith("--finder ") and name in title)
        for item in fields(kind.config):
            assert f"--{item.name.replace('_', '-')} " in mine, item.name
    assert "--bad-pixels {learn,keep}" in groups["--finder candidate"]
    assert "--min-pixels pixels" in groups["--finder peakfinder8"]
    assert "--npix-min pixels" in groups["--finder v3r3"]
    assert "candidate: default, segmentation: segmentation" in groups["--finder candidate or segmentation"]
    assert "--images {raw,gzip,lz4,none}" in groups["output"]


def test_every_number_has_a_unit_and_every_default_passes_its_own_check() -> None:
    for config in (*(kind.config for kind in FINDERS.values()), HitConfig, OutputConfig):
        config()
        for item in fields(config):  # type: ignore[arg-type]
            if not str(item.type).startswith("str"):
                assert item.metadata["unit"], item.name


@pytest.mark.parametrize(
    ("config", "name", "words"),
    [
        (CandidateConfig, "bad_pixels", "learn or keep"),
        (OutputConfig, "events", "hits or all"),
        (OutputConfig, "images", "raw, gzip, lz4 or none"),
        (OutputConfig, "mask_out", "none or artifacts"),
        (OutputConfig, "powder", "none or max"),
    ],
)
def test_configs_check_their_choices(config: type, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 'jpeg', it should be {words}$"):
        config(**{name: "jpeg"})


def test_the_engine_is_chosen_by_default() -> None:
    assert build_parser().parse_args(["find", "a.cxi", "-o", "b.cxi"]).engine == "auto"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--photon-energy", "9.5"), "9.5 eV? photon energy is in eV"),
        (("--camera-length", "120"), "120 m? camera length is in metres"),
        (("--camera-length", "nan"), "nan m? camera length is in metres"),
        (("--limit", "0"), "--limit is 0, it should be at least 1"),
        (("--json", "nosuch/a.json"), "folder nosuch of --json does not exist"),
        (("--engine", "tensorrt", "--finder", "v3r3"), "v3r3 runs on the CPU only"),
    ],
)
def test_slips_are_one_line(
    capsys: pytest.CaptureFixture[str], run_file: Path, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    geom = str(run_file.with_suffix(".geom"))
    assert main(["find", str(run_file), "-g", geom, "-o", str(tmp_path / "out.cxi"), *given]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"peakrt: error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_arguments_that_are_none_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["find", "a.cxi", "-o", "b.cxi", "--min-snr", "high"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("peakrt find: error: argument --min-snr: invalid float value: 'high'; ")
    assert error.count("\n") == 1


@pytest.fixture
def found(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, run_file: Path, tmp_path: Path
) -> tuple[str, Path]:
    """What find prints for a run, and its CXI."""
    out, geom = tmp_path / "out.cxi", str(run_file.with_suffix(".geom"))
    with caplog.at_level(logging.INFO, "peakrt"):
        assert main(["find", str(run_file), "-g", geom, "-o", str(out), "--json", str(tmp_path / "out.json")]) == 0
    assert sum("engine auto" in line for line in caplog.messages) == 1
    return capsys.readouterr().out, out


def test_the_summary_says_what_limits_and_json_says_the_same(found: tuple[str, Path]) -> None:
    text, out = found
    record = json.loads(out.with_suffix(".json").read_text())
    counts = (
        f"{record['events']} events, {record['hits']} hits ({record['hit_rate']:.1%}), {record['peaks_per_hit']:.0f} "
    )
    assert text.startswith(counts + "peaks a hit\n")
    assert 0 < record["waiting_s"] + record["finding_s"] + record["writing_s"] <= record["seconds"]
    for part in ("reading", "finding", "writing"):
        assert f"{part} " in text.splitlines()[1]
    import h5py

    with h5py.File(out, "r") as file:
        n = file["/entry_1/result_1/nPeaks"][:]
    assert record["hits"] == len(n)
    assert record["peaks_per_hit"] == pytest.approx(n.mean())


@pytest.mark.crystfel
def test_the_printed_command_runs_as_printed(found: tuple[str, Path]) -> None:
    """No warning, no error, whatever indexers this CrystFEL was built with."""
    text, out = found
    (command,) = [line.strip() for line in text.splitlines() if line.startswith("  indexamajig")]
    done = subprocess.run(
        command, shell=True, cwd=out.parent, capture_output=True, text=True, check=True, executable=shutil.which("bash")
    )
    said = (done.stdout + done.stderr).lower()
    assert "warning" not in said
    assert "error" not in said
    assert "failed" not in said
    assert out.with_suffix(".stream").read_text().count("----- Begin chunk") == text_hits(text)
    assert shlex.split(command)[-1] == str(out.with_suffix(".stream"))


def text_hits(text: str) -> int:
    return int(text.split(" hits")[0].split()[-1])


def test_a_log_gets_a_line_every_half_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("peakrt.progress.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "peakrt"), Progress(1000, done=100, hits=10, terminal=False) as progress:
        summary = Summary(hits=10)
        for n in range(1, 121):  # two events a second, every other a hit of 20 peaks
            now[0] += 0.5
            summary.events, summary.hits, summary.peaks = n, 10 + n // 2, n // 2 * 20 + (n + 1) // 2 * 4
            progress(summary)
    assert caplog.messages == [
        "160 of 1000 (16%) events, 2.0 events/s, 40 hits (25.0%), 20 peaks/hit, 07:00 left",
        "220 of 1000 (22%) events, 2.0 events/s, 70 hits (31.8%), 20 peaks/hit, 06:30 left",
    ]


def test_a_terminal_gets_a_bar_with_the_hit_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, terminal=True) as progress:
        progress(Summary(events=1, hits=1, peaks=30))
        progress(Summary(events=2, hits=1, peaks=33))
    assert "1 hits (50.0%), 30 peaks/hit" in capsys.readouterr().err


def test_the_log_level_is_obeyed(run_file: Path, tmp_path: Path) -> None:
    find = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(tmp_path / "a.cxi")]
    done = subprocess.run(
        [sys.executable, "-m", "peakrt.cli", *find, "--log-level", "error", "-n", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""


# A base installation: what an extra brings is asked for in one line


def without(modules: str, *arguments: str | Path, program: str = "peakrt") -> subprocess.CompletedProcess[str]:
    """Run a program where the modules, separated by spaces, are not installed."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({modules.split()}));"
    code = f"{blocked} from {program.replace('-', '_')}.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


EXTRAS = "hdf5plugin fabio matplotlib scipy gemmi lightgbm torch onnx pycbf"


def test_a_base_installation_finds(run_file: Path, tmp_path: Path) -> None:
    geom = run_file.with_suffix(".geom")
    done = without(EXTRAS, "find", run_file, "-g", geom, "-o", tmp_path / "out.cxi", "-n", 2, "--log-level", "warning")
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("find", "SQUEEZED", "-g", "GEOM", "-o", "OUT"),
            r"the HDF5 filter bitshuffle .* needs hdf5plugin: .*\[formats\]",
        ),
        (("find", "RUN", "-g", "GEOM", "-o", "OUT", "--images", "lz4"), r"lz4 images needs hdf5plugin: .*\[formats\]"),
        (("find", "a.tif", "-g", "GEOM", "-o", "OUT"), r"a\.tif, an image file, needs fabio: .*\[formats\]"),
        (("view", "RUN", "-g", "GEOM", "-o", "out.png"), r"peakrt view needs matplotlib: .*\[view\]"),
    ],
)
def test_what_an_extra_brings_is_named(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    import h5py
    import hdf5plugin

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HDF5_PLUGIN_PATH", raising=False)
    (tmp_path / "a.tif").write_bytes(bytes(1000))
    with h5py.File(run_file, "r") as plain, h5py.File("squeezed.h5", "w") as squeezed:
        data = plain["/entry_1/data_1/data"][:1]
        filters = dict(hdf5plugin.Bitshuffle(cname="lz4"))
        squeezed.create_dataset("/entry_1/data_1/data", data=data, chunks=data.shape, **filters)
        squeezed["/entry_1/data_1/mask"] = plain["/entry_1/data_1/mask"][:]
    names = {"RUN": run_file, "GEOM": run_file.with_suffix(".geom"), "SQUEEZED": "squeezed.h5", "OUT": "out.cxi"}
    done = without(EXTRAS, *(names.get(a, a) for a in arguments), *(("--log-level", "warning")))
    assert done.returncode == 1
    assert re.fullmatch(f"peakrt: error: .*{message}.*\n", done.stderr), done.stderr
    assert not Path("out.cxi").exists()
