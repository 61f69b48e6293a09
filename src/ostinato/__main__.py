"""``python -m ostinato`` is ``ostinato``."""

import sys

from ostinato.cli import main

sys.exit(main())
