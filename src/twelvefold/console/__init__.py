"""The console's built pages, served from the package; their sources are in web-console/."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""The build; it is not there in a checkout until `make console` has run."""
