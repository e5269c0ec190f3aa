"""The console's built pages, served from the package; their sources are in web-console/."""
