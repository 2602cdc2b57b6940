"""`python -m dannet_core VERB ...`."""

import sys

from dannet_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
