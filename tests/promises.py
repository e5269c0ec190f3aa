"""Lists of traps name the tests that hold us out of each; whether what they name is there."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def is_there(place: str) -> bool:
    """Whether `path/from/tests.py::name` is a test."""
    file, _, name = place.partition("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in tree.body
    )
