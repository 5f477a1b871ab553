"""`python -m tuiwb` is `tuiwb`."""

import sys

from tuiwb.cli.main import main

sys.exit(main())
