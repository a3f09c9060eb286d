"""Changes one place of a module at a time, in Python or in its SQL, and runs the module's own tests on it.

A mutant that no test fails on shows a line that the tests do not need: a test is missing, or the line is. Tools for
this know Python alone, and most of what decides here is SQL in strings. So tokens are changed, outside strings those of
Python and inside them those of SQL; strings that are not SQL are left alone, as are documentation and messages.

    python -m tests.support.mutating                               40 mutants of each module of `OWN_TESTS`
    python -m tests.support.mutating --sample 0 diff/guard.py      every mutant of one module

Tests are collected once. Each mutant is a fork of that process, in which the functions of the module get their changed
code: whoever imported one has it too. No file is written.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import os
import random
import re
import resource
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SAMPLE: Final = 40
PROCESSOR_SECONDS_MAX: Final = 240
"""A mutant that goes round in circles is stopped by its own time: how long that takes depends on the machine."""

OWN_TESTS: Final[dict[str, tuple[str, ...]]] = {
    "diff/guard.py": ("diff/test_guard.py", "diff/test_transfers.py"),
    "diff/versions.py": ("diff/test_versions.py",),
    "diff/catalogue.py": ("diff/test_catalogue.py",),
    "diff/aged.py": ("diff/test_aged.py",),
    "diff/distrust.py": ("diff/test_distrust.py",),
    "diff/growth.py": ("diff/test_growth.py",),
    "diff/engines/duckdb.py": ("diff/engines/test_duckdb.py",),
    "staging/alerts/__init__.py": ("staging/test_alerts.py",),
    "staging/alerts/calendar.py": ("staging/test_alerts.py",),
    "staging/support.py": ("staging/test_alerts.py",),
    "state/reconcile.py": ("state/test_reconcile.py",),
    "state/journal.py": ("state/test_journal.py", "staging/test_stage.py"),
    "source/files.py": ("source/test_files.py",),
    "source/source.py": ("source/test_source.py",),
    "source/devices.py": ("source/test_devices.py",),
}
"""The modules in which a fault loses or makes up changes, with the tests that are theirs."""

PASSED, FAILED, UNCHANGED = 0, 1 << 8, 2 << 8
"""What a process ends with, as `waitpid` tells it."""

_PYTHON: Final[dict[str, str]] = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+", "*": "+",
    "and": "or", "or": "and", "not": "", "True": "False", "False": "True", "continue": "pass", "break": "pass",
    "any": "all", "all": "any", "min": "max", "max": "min",
}  # fmt: skip

_SQL: Final[dict[str, str]] = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "=", "+": "-", "-": "+",
    "AND": "OR", "OR": "AND", "NOT ": "", "true": "false", "false": "true", "DISTINCT ": "",
    "IS DISTINCT FROM": "=", "IS NOT NULL": "IS NULL", "IS NULL": "IS NOT NULL",
    "ANTI JOIN": "SEMI JOIN", "SEMI JOIN": "ANTI JOIN", "LEFT JOIN": "JOIN", "FULL JOIN": "JOIN",
    "coalesce(": "nullif(", "min(": "max(", "max(": "min(", "least(": "greatest(", "greatest(": "least(",
    "bool_and(": "bool_or(", "bool_or(": "bool_and(", "UNION ALL": "EXCEPT ALL",
}  # fmt: skip
_SQL_TOKEN: Final = re.compile(
    # Taken for true: one inventory's rows beside the other's.
    r"inventory = \{[^{}]*\}"
    r"|IS DISTINCT FROM|IS NOT NULL|IS NULL|(?:ANTI|SEMI|LEFT|FULL) JOIN|UNION ALL|\bNOT |\bDISTINCT |\b(?:AND|OR)\b"
    r"|\b(?:true|false)\b|\b(?:coalesce|min|max|least|greatest|bool_and|bool_or)\(|<>|<=|>=|(?<= )[-+<>=](?= )"
    r"|(?<=[ (])\d+\b(?! *\.\.)"
)
_IS_SQL: Final = re.compile(
    r"\b(?:SELECT|FROM|WHERE|JOIN|WITH|DELETE|UPDATE|INSERT|HAVING|CASE|WHEN|QUALIFY|IS NULL)\b|coalesce\("
)


@dataclass(frozen=True)
class Mutant:
    """One changed place of a module.

    Attributes:
        line: where it is.
        begin, end: what is replaced, as offsets in the module's text.
        before, after: the text there.
    """

    line: int
    begin: int
    end: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """The module's text with the change."""
        return text[: self.begin] + self.after + text[self.end :]


def mutants_of(text: str) -> list[Mutant]:
    """Every mutant of a module that is still Python, in the order of its text."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    silent = _silent_lines(ast.parse(text))
    mutants = [*_of_tokens(text, lines, silent), *_of_statements(text, lines, silent)]
    return sorted((mutant for mutant in mutants if _is_python(mutant.apply(text))), key=lambda mutant: mutant.begin)


def _of_tokens(text: str, lines: list[int], silent: set[int]) -> Iterator[Mutant]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, column), (last_row, last_column) = token.start, token.end
        begin, end = lines[row - 1] + column, lines[last_row - 1] + last_column
        if row in silent:
            continue
        if token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            if _IS_SQL.search(token.string) and last_row not in silent:
                yield from _of_sql(text, begin, end)
        elif token.type == tokenize.NUMBER and token.string.isdigit():
            yield Mutant(row, begin, end, token.string, str(int(token.string) + 1))
        elif token.string in _PYTHON and not text[end:].startswith("=") and text[begin - 1] != ".":
            yield Mutant(row, begin, end, token.string, _PYTHON[token.string])


def _of_sql(text: str, begin: int, end: int) -> Iterator[Mutant]:
    for match in _SQL_TOKEN.finditer(text, begin, end):
        before = match.group()
        after = str(int(before) + 1) if before.isdigit() else _SQL.get(before, "true")
        yield Mutant(text.count("\n", 0, match.start()) + 1, match.start(), match.end(), before, after)


def _of_statements(text: str, lines: list[int], silent: set[int]) -> Iterator[Mutant]:
    """Calls for their effect that are left out, and conditions that are turned round."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.lineno not in silent:
            place: ast.stmt | ast.expr = node
            after = "pass"
        elif isinstance(node, ast.If | ast.IfExp) and node.test.lineno not in silent:
            place, after = node.test, ""
        else:
            continue
        begin = lines[place.lineno - 1] + _characters(text, lines, place.lineno, place.col_offset)
        end = lines[(place.end_lineno or 0) - 1] + _characters(
            text, lines, place.end_lineno or 0, place.end_col_offset or 0
        )
        before = text[begin:end]
        yield Mutant(place.lineno, begin, end, before, after or f"(not ({before}))")


def _characters(text: str, lines: list[int], row: int, offset: int) -> int:
    """A column in characters; `ast` counts bytes."""
    return len(text[lines[row - 1] :].split("\n", 1)[0].encode()[:offset].decode())


def _silent_lines(tree: ast.Module) -> set[int]:
    """Lines whose change nobody would notice: imports, documentation, annotations of classes, logs and errors."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_log = isinstance(node, ast.Expr) and ast.unparse(node).startswith(("log.", "self._session.counter."))
        is_error = isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "Incomplete", "Malformed", "Lost"))
        )
        is_declared = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "Final"
        if isinstance(node, ast.ClassDef):
            silent.update(decorator.lineno for decorator in node.decorator_list)
        is_silent = is_text or is_log or is_error or is_declared or isinstance(node, ast.Import | ast.ImportFrom)
        if is_silent and isinstance(node, ast.stmt | ast.expr):
            silent.update(range(node.lineno, (node.end_lineno or 0) + 1))
    return silent


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class Mutating:
    """A pytest plugin that runs the collected tests once for each mutant, instead of once.

    Args:
        module: name of the module.
        mutants: what to try.

    Attributes:
        survivors: mutants on which every test passed.
        tried: how many mutants there were whose change is in a function or a constant.
    """

    def __init__(self, module: str, mutants: Sequence[Mutant]) -> None:
        self.survivors: list[Mutant] = []
        self.tried = 0
        dotted = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._module = importlib.import_module(f"connector.{dotted}")
        self._name = module
        self._text = Path(str(self._module.__file__)).read_text(encoding="utf-8")
        self._mutants = mutants

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, which must pass, and then on each mutant."""
        if not session.items or self._run(session, lambda: None) != PASSED:
            raise pytest.UsageError(f"the tests of {self._name} fail without any change")
        for mutant in self._mutants:
            status = self._run(session, partial(patch, self._module, mutant.apply(self._text)))
            self.tried += status != UNCHANGED
            if status == PASSED:
                self.survivors.append(mutant)
                print(f"{self._name}:{mutant.line}: {mutant.before!r} as {mutant.after!r}", flush=True)
        return True

    def _run(self, session: pytest.Session, change: Callable[[], object]) -> int:
        """Run the tests in a fork until one fails; one that goes round in circles does."""
        child = os.fork()
        if child == 0:
            status = FAILED
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS_MAX, PROCESSOR_SECONDS_MAX))
                quiet = os.open(os.devnull, os.O_WRONLY)
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
                status = UNCHANGED if change() is False else _run_tests(session)
            finally:
                os._exit(status >> 8)
        return os.waitpid(child, 0)[1]


def _run_tests(session: pytest.Session) -> int:
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return FAILED
    return PASSED


def patch(module: ModuleType, text: str) -> bool:
    """Give the functions and constants of a module those of a changed text. Returns whether any is another then."""
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    sys.modules[module.__name__] = changed  # dataclasses look their module up
    exec(compile(text, str(module.__file__), "exec"), changed.__dict__)  # noqa: S102 - that is what it is for
    sys.modules[module.__name__] = module
    return _patch_all(module, vars(module), vars(changed))


def _patch_all(owner: object, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Patch what a module or a class has of its own."""
    is_changed = False
    for name, value in dict(old).items():
        other = new.get(name)
        before, after = _function_of(value), _function_of(other)
        if before is not None and after is not None:
            if before.__module__ == after.__module__ and before.__code__ != after.__code__:
                before.__code__, is_changed = after.__code__, True
        elif isinstance(value, type) and isinstance(other, type):
            if value.__module__ == other.__module__ and value is not other:
                is_changed |= _patch_all(value, vars(value), vars(other))
        elif isinstance(value, str | int | float | tuple | timedelta) and name in new and value != other:
            setattr(owner, name, other)
            is_changed = True
    return is_changed


def _function_of(value: Any) -> FunctionType | None:
    """The function behind a function, a method, a property or a decorated one."""
    for name in ("__func__", "fget", "func", "__wrapped__"):
        value = getattr(value, name, value)
    return value if isinstance(value, FunctionType) else None


def main() -> None:
    """Run, print what survived, and the rate of each module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="such as diff/guard.py; all of OWN_TESTS where none is given")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="mutants of each module; 0: all")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(2**32)), help="repeats a sample")
    arguments = parser.parse_args()
    rates = []
    for name in arguments.modules or OWN_TESTS:
        mutants = mutants_of((ROOT / "connector" / name).read_text(encoding="utf-8"))
        if arguments.sample and len(mutants) > arguments.sample:
            mutants = random.Random(f"{arguments.seed} {name}").sample(mutants, arguments.sample)
        mutating = Mutating(name, sorted(mutants, key=lambda mutant: mutant.begin))
        tests = [str(ROOT / "tests" / test) for test in OWN_TESTS[name]]
        # A mutant has a limit of its own, in processor seconds: by the clock, a busy machine would stop sound ones.
        options = ["-q", "-s", "-m", "not broker", "-p", "no:cacheprovider", "--timeout", "0"]
        code = pytest.main([*options, *tests], plugins=[mutating])
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            raise SystemExit(code)
        rates.append(f"{name}: {mutating.tried - len(mutating.survivors)} of {mutating.tried} killed")
        print(rates[-1], flush=True)
    print(f"seed {arguments.seed}", *rates, sep="\n")


if __name__ == "__main__":
    main()
