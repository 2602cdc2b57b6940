"""Say in one line when this Python cannot hold the environments; runs on any Python 3."""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    # No f-string: an older Python must get as far as this line.
    sys.exit("got Python {}.{}, expected 3.10 to 3.13: make PYTHON=python3.12 ...".format(*sys.version_info))
try:
    import ensurepip  # noqa: F401 - only whether it is there
except ImportError:
    sys.exit("this Python has no venv module: apt install python3-venv, or make PYTHON=/path/to/another/python3")
