"""`python -m edgeloop_pipelines.cli` is `edgeloop`."""

import sys

from edgeloop_pipelines.cli import main

sys.exit(main())
