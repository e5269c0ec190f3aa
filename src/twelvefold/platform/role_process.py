"""The entry of a child of `up`: `python -m twelvefold.platform.role_process ROLE DATA READY`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # structlog draws tracebacks with rich where it finds it. Servers log JSON, and rich costs 200 ms and 10 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]  # None is how Python is told: not found
    from twelvefold.platform.role import main

    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
