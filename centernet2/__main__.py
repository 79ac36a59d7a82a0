"""``python -m centernet2`` is the command ``centernet2``."""

from __future__ import annotations

import sys

from centernet2.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
