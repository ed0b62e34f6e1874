"""Would the tests notice? Changes one expression after another, and runs the tests of its room.

    python benchmarks/mutation.py                       # all targets
    python benchmarks/mutation.py quadrature cropping   # some
    python benchmarks/mutation.py plan --only 12 80     # these mutants, with the output of pytest

Each mutant is one small change of one module: `<` for `<=`, `+` for `-`, 3 for 2, a statement left
out, a condition turned round, an exception not raised. It is killed if a test fails, or hangs; it
survives if all pass. Libraries are loaded once: each mutant is a fork of that process, in which
CellCam is imported with the changed module. Needs Linux or macOS. Survivors are printed as the
line before and after; docs/reliability.md says why those that are left change nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
_LONGEST_S = 120
# Loaded before the forks; none of them loads CellCam.
_LIBRARIES = (
    *("numpy", "scipy.ndimage", "scipy.optimize", "pandas", "torch", "skimage.segmentation"),
    *("skimage.measure", "tifffile", "zarr", "dask.array", "pyarrow.parquet", "hypothesis"),
    *("hypothesis.extra.numpy", "pydantic", "filelock", "monai.networks.nets", "cv2", "matplotlib"),
    *("distributed", "safetensors.torch", "PIL.Image", "ome_types"),
)
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "quadrature": (
        "cellcam/explain/integration/quadrature.py",
        ("tests/explain/test_quadrature.py",),
    ),
    "cropping": ("cellcam/cells/cropping.py", ("tests/cells/test_cropping.py",)),
    "user_labels": ("cellcam/cells/user_labels.py", ("tests/cells/test_user_labels.py",)),
    "plan": ("cellcam/batch/plan.py", ("tests/batch/test_plan.py",)),
    "merge": ("cellcam/batch/merge.py", ("tests/batch/test_merge.py",)),
}
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_CALLED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "maximum": "minimum",
    "minimum": "maximum",
    "round": "int",
    "sorted": "list",
}


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes
    ----------
    number : place among the mutants of the module
    line : where it is
    before, after : the changed expression or statement
    source : of the whole changed module
    """

    number: int
    line: int
    before: str
    after: str
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    for path, node in _nodes(tree):
        for changed in _changes(node):
            other = _with(tree, path, changed)
            before = ast.unparse(node).splitlines()[0]
            after = ast.unparse(changed).splitlines()[0] if changed else "(left out)"
            found.append((node.lineno, before, after, ast.unparse(other)))
    unique = list(dict.fromkeys(one for one in found if one[3] != ast.unparse(tree)))
    return [Mutant(i, *one) for i, one in enumerate(sorted(unique, key=lambda one: one[0]))]


def _nodes(tree: ast.Module) -> Iterator[tuple[list[tuple[str, int | None]], ast.AST]]:
    """Nodes that can change, with the way to each from the root."""
    pending: list[tuple[list[tuple[str, int | None]], ast.AST]] = [([], tree)]
    while pending:
        path, node = pending.pop()
        if _is_skipped(node):
            continue
        if path and hasattr(node, "lineno"):
            yield path, node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            children = value if isinstance(value, list) else [value]
            for i, child in enumerate(children):
                if isinstance(child, ast.AST):
                    pending.append(([*path, (name, i if isinstance(value, list) else None)], child))


def _is_skipped(node: ast.AST) -> bool:
    """Imports, texts of messages, and what exists for the type checker alone."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """Small changes of one node; None leaves a statement out."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare):
        for i, operator in enumerate(new.ops):
            one = copy.deepcopy(new)
            one.ops[i] = _COMPARED[type(operator)]()
            yield one
    elif isinstance(new, ast.BinOp | ast.AugAssign) and type(new.op) in _CALCULATED:
        new.op = _CALCULATED[type(new.op)]()
        yield new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.And() if isinstance(new.op, ast.Or) else ast.Or()
        yield new
    elif isinstance(new, ast.UnaryOp):
        yield new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        new.value = not new.value
        yield new
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        new.value = new.value + 1
        yield new
    elif isinstance(new, ast.Call):
        name = new.func.id if isinstance(new.func, ast.Name) else getattr(new.func, "attr", "")
        if name in _CALLED:
            if isinstance(new.func, ast.Name):
                new.func.id = _CALLED[name]
            elif isinstance(new.func, ast.Attribute):
                new.func.attr = _CALLED[name]
            yield new
    elif isinstance(new, ast.IfExp | ast.If | ast.While):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(new, ast.Raise | ast.Continue | ast.Break) or _is_call_alone(new):
        yield None
    elif isinstance(new, ast.Return) and not _is_nothing(new.value):
        new.value = ast.Constant(None)
        yield new


def _is_call_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _is_nothing(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _with(
    tree: ast.Module, path: list[tuple[str, int | None]], changed: ast.AST | None
) -> ast.Module:
    """The module with another node at the end of a way."""
    tree = copy.deepcopy(tree)
    node: ast.AST = tree
    for name, i in path[:-1]:
        value = getattr(node, name)
        node = value if i is None else value[i]
    name, i = path[-1]
    new = ast.Pass() if changed is None else changed
    if i is None:
        setattr(node, name, new)
    else:
        getattr(node, name)[i] = new
    return ast.fix_missing_locations(tree)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook that gives one module another source."""

    def __init__(self, module: str, source: str, file: Path) -> None:
        self.module, self.source, self.file = module, source, file

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name != self.module:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=self)

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: object) -> None:
        exec(compile(self.source, str(self.file), "exec"), vars(module))


def survives(mutant: Mutant, file: Path, tests: tuple[str, ...], shows: bool = False) -> bool:
    """Whether all tests pass on a mutant, in a fork of this process."""
    child = os.fork()
    if not child:
        os.setsid()
        _test(mutant.source, file, tests, shows)
    ended = _status(child)
    return ended == 0


def _test(source: str, file: Path, tests: tuple[str, ...], shows: bool) -> None:
    """Run the tests in this process, and end it with their status."""
    import pytest

    if not shows:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1), os.dup2(nothing, 2)
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    sys.meta_path.insert(0, _Changed(name, source, file))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:napari", "-p", "no:xvfb"]
    # Libraries with a pytest plugin, such as zarr, are loaded already.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-m", "not gui", "--basetemp", f"/tmp/mutation-{os.getpid()}"]
    os._exit(int(pytest.main([*options, *tests])))


def _status(child: int) -> int | None:
    """Exit status of a child; None if it was killed because it did not end."""

    def stop(number: int, frame: FrameType | None) -> None:
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LONGEST_S)
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    os.system(f"rm -rf /tmp/mutation-{child}")
    return os.waitstatus_to_exitcode(status)


def judge(name: str, only: list[int] | None) -> tuple[int, list[Mutant]]:
    """Number of mutants of a target, and those that survive."""
    path, tests = TARGETS[name]
    file = ROOT / path
    source = file.read_text("utf-8")
    all_of_them = mutants_of(source)
    unchanged = Mutant(-1, 0, "", "", ast.unparse(ast.parse(source)))
    started = time.monotonic()
    if not survives(unchanged, file, tests, bool(only)):
        sys.exit(f"The tests of {name} fail without any change.")
    print(
        f"{name}: {len(all_of_them)} mutants, {time.monotonic() - started:.1f} s each", flush=True
    )
    survivors = []
    for mutant in all_of_them:
        if only and mutant.number not in only:
            continue
        if survives(mutant, file, tests, bool(only)):
            survivors.append(mutant)
            print(f"  {path}:{mutant.line} #{mutant.number}", flush=True)
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    return len(all_of_them), survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--only", type=int, nargs="+")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / folder) for folder in ("", "training", "napari_plugin", "tests")]
    for library in _LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError:
            continue
    assert not [name for name in sys.modules if name.startswith("cellcam")]
    for name in chosen.targets or TARGETS:
        count, survivors = judge(name, chosen.only)
        killed = count - len(survivors)
        if not chosen.only:
            print(f"{name}: {killed} of {count} killed ({killed / count:.0%})", flush=True)


if __name__ == "__main__":
    main()
