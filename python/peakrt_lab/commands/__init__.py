"""The commands of ``peakrt-lab``, one module each, as in ``peakrt/commands``. ``peakrt_lab/cli.py`` lists them."""
