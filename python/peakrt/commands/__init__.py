"""The commands of ``peakrt``, one module each: ``add(commands)`` and what runs it. ``peakrt/cli.py`` lists them."""
