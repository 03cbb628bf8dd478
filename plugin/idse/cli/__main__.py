"""``python -m idse.cli``."""

import sys

from idse.cli import main

sys.exit(main())
