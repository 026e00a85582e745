"""The gateware can be read: no function of several hundred lines, and every component says its contract."""

import ast
from pathlib import Path
from statistics import median

import hawse_hdl
import pytest

SOURCES = sorted(Path(str(hawse_hdl.__file__)).parent.rglob("*.py"))
CONTRACT = ("latency", "initiation interval", "ordering", "reset", "back-pressure")


def functions():
    """Name and lines of each function, methods and inner ones too."""
    return [
        (f"{path.name}: {node.name}", node.end_lineno - node.lineno + 1)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]


def components():
    """Each class that elaborates, and its docstring."""
    return [
        pytest.param(ast.get_docstring(node) or "", id=node.name)
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "elaborate" for part in node.body)
    ]


def test_elaborate_reads_like_a_table_of_contents():
    lines = {name: n for name, n in functions() if name.endswith(": elaborate")}
    assert median(lines.values()) <= 40
    assert {name: n for name, n in lines.items() if n > 120} == {}


def test_what_elaborate_calls_is_short():
    assert {name: n for name, n in functions() if n > 60 and not name.endswith(": elaborate")} == {}


@pytest.mark.parametrize("docstring", components())
def test_a_component_says_its_contract(docstring):
    assert [word for word in CONTRACT if word not in docstring.lower()] == []
