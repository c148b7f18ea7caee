"""`python -m aiinfra_lab`: the command `aiinfra`, by this interpreter."""

import sys

from .pool.entry import main

sys.exit(main())
