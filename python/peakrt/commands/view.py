"""``peakrt view``: pictures of frames with their peaks, of hits, and powder patterns."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peakrt_geometry import Detector, read_geom

from ..config import HitConfig
from ..extras import need
from ..finders.registry import FINDERS
from ..sources import Source, open_source
from .finder_options import DEFAULT_FINDER, add_finder, take_finder
from .options import add_geometry, known_length, override, read_mask, take_geometry
from .program import add_command

if TYPE_CHECKING:
    from ..pictures.assemble import Canvas
    from ..pictures.choose import EventPictures


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "view",
        _view,
        help="draw a frame with its peaks, a contact sheet of hits, or powder patterns",
        description="Draw a frame with its peaks, a contact sheet of hits, or powder patterns. Peaks saved in the input, "
        "or in --peaks, are shown as they are; where none are saved, or an option of the finders is given, they are found.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="what peakrt find takes, or the CXI that it wrote")
    add_geometry(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.png", help="picture to write (.png, .pdf or .svg)"
    )
    parser.add_argument("--peaks", metavar="PEAKS.cxi", help="show the peaks saved in this file")
    parser.add_argument("-e", "--event", type=int, default=0, help="number of the event in the input [0]")
    parser.add_argument("--sheet", type=int, metavar="N", help="a contact sheet of the first N hits instead")
    parser.add_argument(
        "--min-peaks", type=int, default=HitConfig().min_peaks, help="least peaks of a hit of the sheet"
    )
    parser.add_argument(
        "--powder",
        action="store_true",
        help="powder patterns instead: those in the file or the maximum of its events, and where all its peaks are",
    )
    parser.add_argument("-n", "--limit", type=int, default=1000, help="events that the maximum is taken of [1000]")
    add_finder(parser)


def _view(parsed: argparse.Namespace) -> int:
    if Path(parsed.output).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{parsed.output} should end in .png, .pdf or .svg")
    need("peakrt view", "view", "matplotlib")
    for name, least in (("sheet", 1), ("limit", 1), ("event", 0)):
        value = getattr(parsed, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}, it should be at least {least}")
    if parsed.powder:
        return _view_powder(parsed)
    return _view_event(parsed) if parsed.sheet is None else _view_sheet(parsed)


def _view_geometry(parsed: argparse.Namespace) -> Detector | None:
    """Detector of the options, or of the .geom beside the input; None where the data are to describe it."""
    from ..pictures.choose import geometry_beside

    detector, beside = take_geometry(parsed), geometry_beside(parsed.inputs)
    return read_geom(beside) if detector is None and beside is not None else detector


def _view_source(parsed: argparse.Namespace) -> Source:
    from ..pictures.choose import check_images

    check_images(parsed.inputs)
    source = open_source(parsed.inputs, _view_geometry(parsed))
    source.detector = override(source.detector, parsed)
    return source


def _event_pictures(parsed: argparse.Namespace, canvas: Canvas) -> EventPictures:
    from ..pictures.choose import EventPictures

    names = {item.name for kind in FINDERS.values() for item in fields(kind.config)}
    return EventPictures(
        canvas,
        lambda: take_finder(parsed, canvas.detector),
        peaks=parsed.peaks,
        anew=parsed.finder != DEFAULT_FINDER or any(getattr(parsed, name) is not None for name in names),
        mask=None if parsed.mask is None else read_mask(parsed.mask),
    )


def _view_event(parsed: argparse.Namespace) -> int:
    from ..pictures.assemble import Canvas
    from ..pictures.draw import ONE, save_pictures

    source = _view_source(parsed)
    event = next(iter(source.events(parsed.event)), None)
    if event is None:
        length = known_length(source)
        raise ValueError(f"there is no event {parsed.event}: the input has {'fewer' if length is None else length}")
    canvas = Canvas(source.detector, ONE.side)
    with _event_pictures(parsed, canvas) as pictures:
        picture = pictures.draw(event, parsed.event)
    save_pictures(parsed.output, canvas, [picture], ONE)
    print(f"{picture.title}\nwrote {parsed.output}")
    return 0


def _view_sheet(parsed: argparse.Namespace) -> int:
    from ..pictures.assemble import Canvas
    from ..pictures.draw import MANY, save_pictures

    source = _view_source(parsed)
    canvas = Canvas(source.detector, MANY.side)
    with _event_pictures(parsed, canvas) as pictures:
        hits = pictures.hits(source.events(), parsed.sheet, parsed.min_peaks)
    if not hits:
        raise ValueError(f"no event has {parsed.min_peaks} peaks: lower --min-peaks, or look at single events with -e")
    save_pictures(parsed.output, canvas, hits, MANY)
    print(f"{len(hits)} hits\nwrote {parsed.output}")
    return 0


def _view_powder(parsed: argparse.Namespace) -> int:
    from ..pictures.assemble import Canvas
    from ..pictures.choose import powders
    from ..pictures.draw import FEW, save_pictures

    detector = override(_view_geometry(parsed) or open_source(parsed.inputs).detector, parsed)
    mask = None if parsed.mask is None else read_mask(parsed.mask)
    canvas = Canvas(detector, FEW.side)
    pictures = powders(parsed.inputs, canvas, peaks=parsed.peaks, limit=parsed.limit, mask=mask)
    save_pictures(parsed.output, canvas, pictures, FEW)
    for picture in pictures:
        print(picture.title)
    print(f"wrote {parsed.output}")
    return 0
