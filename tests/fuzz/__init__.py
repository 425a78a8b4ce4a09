"""Files and messages that are wrong at random, thrown at what reads them: ``python -m tests.fuzz --inputs 100000``.

An input is made from a seed, the target's name and its number, so that each can be had again alone. (hypothesis and
atheris were looked at: the one stops at the first failure and cannot name the input that ended its process, the other
wants the process for itself.)
"""
