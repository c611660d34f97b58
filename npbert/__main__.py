"""`python -m npbert`: the same as the `npbert` command."""

import sys

from npbert.cli import main

sys.exit(main())
