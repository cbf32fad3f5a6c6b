"""The source code of a model, so that the model can be built without telescope.

The source code of `telescope.models.transformer.Transformer`, and of all definitions that it uses,
is copied unchanged. A second version written by hand would sooner or later be a different model.
There are three exceptions. A call to muP, such as `mup.attention_factor(spec)`, is replaced by its
value for this model. Methods that a forward pass does not need, such as `parameter_roles`, are left
out. Comments for linters and type checkers are left out, too.

The specification of the model becomes a plain namespace, SPEC.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from types import ModuleType, SimpleNamespace
from typing import Any, TypeGuard

from telescope.models import transformer
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.types import Parametrisation

LEFT_OUT_METHODS = (
    "parameter_roles",
    "layout",
    "init_std",
    "initialise",
    "reseed",
    "depth_factors",
    "hidden_layers",
    "scores",
    "own_loss",
    "last",
    "evaluating",
)
"""Methods that a forward pass does not need."""

TOOL_COMMENTS = re.compile(r"  # (?:type: ignore|noqa).*$", re.MULTILINE)
GAPS = re.compile(r"\n(?:[ \t]*\n){2,}(?=[ \t])")  # blank lines where a method was left out


@dataclass(frozen=True)
class ModelSource:
    """Source code that builds a model."""

    imports: tuple[str, ...]
    code: str


def source_of(spec: ModelSpec, parametrisation: Parametrisation) -> ModelSource:
    """The source code of the Transformer with this specification."""
    definitions = Definitions(
        {
            "mup": mup,
            "Role": Role,
            "spec": spec,
            "self": SimpleNamespace(spec=spec),
            "parametrisation": parametrisation,
        }
    )
    definitions.add(transformer, "Transformer")
    imports = tuple(dict.fromkeys(definitions.imports))
    return ModelSource(imports, "\n\n\n".join([namespace(spec), *definitions.texts]))


def namespace(spec: ModelSpec) -> str:
    """Code that defines SPEC, a namespace with the fields and properties of a specification."""
    properties = [
        name for name, value in inspect.getmembers(type(spec)) if isinstance(value, property)
    ]
    lines = [
        f"    {name}={getattr(spec, name)!r},"
        for name in [*(field.name for field in fields(spec)), *properties]
    ]
    return "\n".join(["SPEC = SimpleNamespace(", *lines, ")"])


@dataclass
class Definitions:
    """Source texts of definitions, collected by following names through telescope's modules. Each
    definition comes after the definitions that it uses."""

    mup_arguments: dict[str, Any]  # values of the names that calls to muP use
    texts: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)  # (module, name) of each definition

    def add(self, module: ModuleType, name: str) -> None:
        """Add the definition of a name in a module, preceded by all definitions that it uses."""
        if (module.__name__, name) in self.seen:
            return
        self.seen.add((module.__name__, name))
        source = inspect.getsource(module)
        for node in ast.parse(source).body:
            if isinstance(node, ast.ImportFrom | ast.Import) and name in imported_names(node):
                self.follow(node, name)
            elif name in defined(node):
                for needed in names(node):
                    self.add(module, needed)
                self.texts.append(self.text(node, source))

    def follow(self, node: ast.ImportFrom | ast.Import, name: str) -> None:
        """Add the definition of a name that is imported from a module of telescope. If the name is
        imported from another package, copy the import."""
        origin = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if origin.partition(".")[0] != "telescope":
            self.imports.append(ast.unparse(node))
        else:
            alias = next(alias for alias in node.names if (alias.asname or alias.name) == name)
            self.add(sys.modules[origin], alias.name)

    def text(self, node: ast.stmt, source: str) -> str:
        """The source code of a definition. Calls to muP are replaced by their values. The methods
        in LEFT_OUT_METHODS are removed, and so are comments for linters and type checkers."""
        replacements: list[tuple[ast.Call | ast.FunctionDef, str]] = []
        for part in definition_nodes(node):
            if isinstance(part, ast.Call) and calls_mup(part):
                replacements.append((part, repr(self.value(part))))
            elif is_left_out(part):
                replacements.append((part, ""))
        # from the last to the first, so that earlier positions stay valid
        replacements.sort(key=lambda pair: (pair[0].lineno, pair[0].col_offset), reverse=True)
        lines = source.encode().splitlines(keepends=True)
        for part, text in replacements:
            first, last = part.lineno - 1, (part.end_lineno or part.lineno) - 1
            head, tail = lines[first][: part.col_offset], lines[last][part.end_col_offset :]
            lines[first : last + 1] = [head + text.encode() + tail, *[b""] * (last - first)]
        decorators = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        definition = b"".join(lines[start - 1 : node.end_lineno]).decode()
        return GAPS.sub("\n\n", TOOL_COMMENTS.sub("", definition)).rstrip()

    def value(self, call: ast.Call) -> Any:
        """The value of a call to muP."""
        # `eval` is safe here: the code is telescope's own
        code = compile(ast.Expression(call), "<mup>", "eval")
        return eval(code, dict(self.mup_arguments))  # noqa: S307


def calls_mup(node: ast.AST) -> bool:
    """True for a call such as mup.attention_factor(spec)."""
    function = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "mup"
    )


def is_left_out(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    """True for a method that a forward pass does not need."""
    return isinstance(node, ast.FunctionDef) and node.name in LEFT_OUT_METHODS


def definition_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a definition, except those inside a method that is left out."""
    yield node
    if not is_left_out(node):
        for child in ast.iter_child_nodes(node):
            yield from definition_nodes(child)


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement of a module defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def imported_names(node: ast.ImportFrom | ast.Import) -> set[str]:
    """The names that an import binds."""
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def names(node: ast.AST) -> Iterator[str]:
    """The names that a definition needs when it runs. Names in calls to muP and in methods that are
    left out do not count. Neither do names in annotations, which are never evaluated."""
    if calls_mup(node) or is_left_out(node):
        return
    if isinstance(node, ast.Name):
        yield node.id
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from names(child)
