"""What every command line of ours is made of: its parser, its commands, its errors in one line, its signals."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

LOG_LEVELS = ("debug", "info", "warning", "error")


class Interrupted(Exception):
    """The user, or the batch system, asked to stop."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors are.

    takes_rest : whether what follows "--" is another program's and goes into ``rest`` as it is
    """

    takes_rest = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but for the rest."""
        if not self.takes_rest or args is None:
            return super().parse_known_args(args, namespace)
        at = args.index("--") if "--" in args else len(args)
        parsed, unknown = super().parse_known_args(args[:at], namespace)
        parsed.rest = list(args[at + 1 :])
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help lists the options\n")


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], **words: Any) -> Parser:
    """Add a command that calls ``run`` to the parsers of a program's commands; words : argparse's, help among them."""
    parser: Parser = commands.add_parser(name, **{"description": words.get("help", ""), **words})
    parser.add_argument(
        "--log-level", default="info", choices=LOG_LEVELS, help="least serious messages to show on stderr [info]"
    )
    parser.set_defaults(run=run)
    return parser


def run_program(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse and run a command; errors that a user can mend come out as one line.

    The command finds the arguments as they were given in ``parsed.given``.
    """
    parsed = parser.parse_args(arguments)
    parsed.given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("peakrt").setLevel(parsed.log_level.upper())
    try:
        status: int = parsed.run(parsed)
    except Interrupted as interrupted:
        print(f"\n{parser.prog}: {interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        print(f"{parser.prog}: error: {one_line(error)}", file=sys.stderr)
        return 1
    return status


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if "No space left" in text:
        text = "no space left on the disk"
    if isinstance(error, MemoryError):
        text = f"there is too little memory: {text}" if text else "there is too little memory"
    return " ".join(text.split()) or type(error).__name__


def catch_signals(times: int = 1) -> list[int]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them, so many times each; one more is not caught."""
    caught: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if caught.count(number) >= times:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, take)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup a run outlives its terminal
        signal.signal(signal.SIGHUP, take)
    return caught
