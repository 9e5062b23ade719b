"""`python -m jaxgradsweep`: the command line."""

import sys

from jaxgradsweep.cli import main

sys.exit(main())
