"""The fuzzer: damaged files and messages, and senseless frames and options, given to whatever takes them.

    python -m tests.fuzz [--inputs 100000] [TARGET ...]

Each input is made from a seed, the target's name and its number, so that any one can be made again alone
(``--first NUMBER --inputs 1``). The inputs of a target run in a process of their own. An input has failed if that process
ends or stands still, if the input takes more than 2 s of CPU or 1 GiB of memory, or if it raises anything but OSError or
ValueError, which are the errors that a user is told in one line. hypothesis, which stops at the first failure and cannot
name an input that ended its process, is used by the other tests.
"""
