"""``peakrt report``: a run that is over as one file, from its CXI and its stream."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt import PeakFinder
from peakrt.cli import main
from peakrt.config import OutputConfig
from peakrt.cxi.columns import N_PEAKS, PROGRESS
from peakrt.cxi.master import write_master
from peakrt.cxi.writer import CxiWriter
from peakrt.monitor.cell_file import read_cell
from peakrt.pipeline import find_run
from peakrt.sources import open_source
from peakrt_geometry import read_geom

from .browser import CHROMIUM, Browser
from .test_monitor_server import check_no_address

CELL = "CrystFEL unit cell file version 1.0\n\nlattice_type = orthorhombic\na = 60 A\nb = 7.0 nm\nc = 80.00 A\nal = 90.00 deg\nbe = 90 deg\nga = 90.00 deg\n"


@pytest.fixture(scope="module")
def found(run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What find writes of the run."""
    out = tmp_path_factory.mktemp("found") / "out.cxi"
    arguments = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(out), "--engine", "cpu"]
    assert main([*arguments, "--powder", "max"]) == 0
    return out


def write_stream(path: Path, cxi: Path, rows: list[int], *, indexed: set[int], length: float = 1.0) -> None:
    """A stream as indexamajig writes it, in short; length : factor on the cells."""
    text = "CrystFEL stream format 2.3\n"
    for row in rows:
        text += f"----- Begin chunk -----\nImage filename: {cxi.resolve()}\nEvent: //{row}\nImage serial number: {row}\nhit = 1\n"
        text += f"indexed_by = {'asdf' if row in indexed else 'none'}\nnum_peaks = 20\n"
        if row in indexed:
            a, b, c = (length * axis for axis in (6.0, 7.0, 8.0))
            text += f"--- Begin crystal\nCell parameters {a:.5f} {b:.5f} {c:.5f} nm, 90.0 90.0 90.0 deg\n"
            text += "predict_refine/det_shift x = 0.010 y = -0.020 mm\n--- End crystal\n"
        text += "----- End chunk -----\n"
    path.write_text(text)


def data_of(page: Path) -> dict[str, Any]:
    """What stands in a report."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]


def test_a_report_stands_alone(found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(found) as file:
        counts = file[N_PEAKS][:]
    stream, cell, page, record = (
        tmp_path / name for name in ("out.stream", "known.cell", "report.html", "report.json")
    )
    write_stream(stream, found, list(range(len(counts))), indexed={0, 2, 3})
    cell.write_text(CELL)
    assert main(["report", str(found), str(stream), "-p", str(cell), "-o", str(page), "--json", str(record), "--title", "</script><b>x"]) == 0  # fmt: skip
    assert f"wrote {page}" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    check_no_address(text)
    assert "<b>x" not in text
    assert len(text) < 2e6
    data, numbers = data_of(page), json.loads(record.read_text())
    overview = data["overview"]
    assert overview == numbers["overview"]
    assert overview["counts"] == {
        "events": 12, "hits": len(counts), "peaks": int(counts.sum()), "unusable": 0, "saturated": 0, "chunks": len(counts),
        "indexed": 3, "several": 0, "crystals": 3, "unseen": 0,
    }  # fmt: skip
    assert overview["hit_rate"] == pytest.approx(len(counts) / 12, rel=1e-4)
    assert list(overview["cell"].values()) == pytest.approx([60, 70, 80, 90, 90, 90])
    assert overview["cell_expected"] == [60, 70, 80, 90, 90, 90]
    assert (overview["axis"], overview["running"], overview["camera_length_mm"]) == ("event", False, 100)
    assert overview["beam_centre_shift_um"] == [10, -20]
    assert data["hit"]["n_peaks"] == counts.max()
    assert data["hit"]["heading"] == "Hit with the most peaks"
    assert data["powder_hits"]["title"] == "maximum of all hits"
    assert data["powder_misses"]["title"] == "maximum of all misses"
    assert data["powder_peaks"] is not None
    assert numbers["overview"]["schema"] == 1
    assert set(numbers) == {"overview", "series", "histograms", "radial", "resolution_is_of"}
    # Each chunk stands at its event's number in the input
    with h5py.File(found) as file:
        events = file["/LCLS/eventNumber"][:]
    series = numbers["series"]
    first = events < 10
    indexed = np.isin(np.arange(len(counts)), [0, 2, 3])
    assert series["hit_rate"][0] == pytest.approx(100 * first.sum() / 10, rel=1e-3)
    assert series["indexing_rate"][0] == pytest.approx(100 * indexed[first].mean(), rel=1e-3)


def test_the_chunks_of_a_live_run_stand_at_their_hits(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(found) as file:
        rows = len(file[N_PEAKS])
    stream, live, order = tmp_path / "out.stream", tmp_path / "live.stream", [3, 0, 2, 1, *range(4, rows)]
    write_stream(stream, found, order, indexed={0, 2, 3})
    text = stream.read_text()
    for row in range(rows):
        text = text.replace(f"Image filename: {found}\nEvent: //{row}\n", f"Image filename: ZMQdata\nEvent: //7\nheader/int/hit_number = {row + 1}\n")  # fmt: skip
    live.write_text(text)
    assert "hit_number = 4" in text
    for path in (stream, live):
        assert main(["report", str(found), str(path), "-o", str(path.with_suffix(".html"))]) == 0
    theirs, ours = (data_of(path.with_suffix(".html"))["series-whole"] for path in (stream, live))
    assert len([rate for rate in ours["indexing_rate"] if rate is not None]) > 1
    assert ours == theirs


def test_a_report_without_images_or_stream(run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, geometry = tmp_path / "out.cxi", str(run_file.with_suffix(".geom"))
    assert main(["find", str(run_file), "-g", geometry, "-o", str(out), "--engine", "cpu", "--images", "none", "--events", "all"]) == 0  # fmt: skip
    assert main(["report", str(out)]) == 1
    assert "give the geometry that the run was found with (-g)" in capsys.readouterr().err
    assert main(["report", str(out), "-g", geometry]) == 0
    data = data_of(tmp_path / "out.report.html")
    assert data["overview"]["counts"]["events"] == 12
    assert data["hit"] is None
    assert data["powder_peaks"] is not None
    assert data["radial"]["picture"] is None
    assert sum(data["histograms"]["peaks_a_frame"]["counts"]) == 12


def write_ranks(run_file: Path, folder: Path) -> Path:
    """A run by two ranks, to which the events are dealt out, and its master."""
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    whole, ranks = list(source.events()), []
    for rank in range(2):
        source.events = lambda start=0, rank=rank: iter(whole[6 * rank + start : 6 * rank + 6])  # type: ignore[method-assign, misc]
        path = folder / f"out_{rank}.cxi"
        with CxiWriter(path, source.detector, output=OutputConfig(powder="max")) as writer:
            find_run(source, PeakFinder(geometry=source.detector), writer)
        ranks.append(path)
    write_master(folder / "out.cxi", ranks, source.detector)
    return folder / "out.cxi"


def test_a_report_of_a_job(run_file: Path, found: Path, tmp_path: Path) -> None:
    master = write_ranks(run_file, tmp_path)
    with h5py.File(master) as file:
        assert file[PROGRESS][()] == 12
    stream = tmp_path / "out.stream"
    write_stream(stream, master, [0, 1, 2], indexed={1})
    one, both = tmp_path / "one.html", tmp_path / "both.html"
    assert main(["report", str(found), "-o", str(one)]) == 0
    assert main(["report", str(master), str(stream), "-o", str(both)]) == 0
    expected, data = data_of(one), data_of(both)
    for key in ("events", "hits", "peaks"):
        assert data["overview"]["counts"][key] == expected["overview"]["counts"][key]
    assert data["overview"]["counts"]["indexed"] == 1
    assert data["powder_hits"]["png"] == expected["powder_hits"]["png"]
    assert data["histograms"]["peakogram"]["counts"] == expected["histograms"]["peakogram"]["counts"]


def test_what_is_no_run_is_said_in_one_line(
    found: Path, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, empty = tmp_path / "notes.stream", tmp_path / "empty.cxi"
    text.write_text("no stream")
    h5py.File(empty, "w").close()
    geometry = str(run_file.with_suffix(".geom"))
    out = str(tmp_path / "r.html")
    for arguments, words in (
        ([str(tmp_path / "none.cxi")], "does not exist"),
        ([str(empty), "-g", geometry], "it is not a CXI with peaks"),
        ([str(found), str(text)], "no whole chunk"),
        ([str(found), str(tmp_path / "none.stream")], "does not exist"),
        ([str(found), "-g", "jungfrau1m"], "frames of (256, 256), the geometry"),
        ([str(found), "-p", str(text)], "no whole unit cell"),
        ([str(text), "-g", geometry], "not a readable HDF5 file"),
    ):
        assert main(["report", *arguments, "-o", out]) == 1
        said = capsys.readouterr().err
        assert words in said, said
        assert len(said.splitlines()) == 1, said
    assert not Path(out).exists()
    assert main(["report", str(found), "-o", str(found)]) == 1
    assert "choose another name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cell", "pdb"])
def test_unit_cells(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"known.{name}"
    path.write_text(
        CELL if name == "cell" else "HEADER\nCRYST1   60.000   70.000   80.000  90.00  90.00  90.00 P 21 21 21    4\n"
    )
    assert read_cell(path) == pytest.approx((60, 70, 80, 90, 90, 90))
    for damaged in ("a = 60 A\n", CELL.replace("60", "-60"), CELL.replace("60", "6.0.0"), "CRYST1 60 70\n"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="known"):
            read_cell(path)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_a_report_from_the_disk(found: Path, tmp_path: Path) -> None:
    page, stream = tmp_path / "report.html", tmp_path / "out.stream"
    write_stream(stream, found, [0, 1, 2], indexed={0, 1})
    assert main(["report", str(found), str(stream), "-o", str(page)]) == 0
    with Browser() as browser:
        browser.open(page.as_uri())
        shown = "[...document.querySelectorAll('section:not([hidden])')].map((section) => section.id)"
        browser.wait_for(f"['rates', 'hit', 'powder', 'cell', 'profile', 'table'].every((id) => {shown}.includes(id))")
        browser.wait_for("document.querySelector('#hit h2').textContent.startsWith('Hit with the most peaks')")
        assert browser.complaints == []
        assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
