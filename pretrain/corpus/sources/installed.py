"""Prose that lies on every machine that runs this: docstrings, package descriptions, Python's language reference.

Modules are parsed, never imported. The order is sorted, so one installation always gives the same documents.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Document, Record, Unit

MODULES_PER_UNIT = 200
SKIPPED = {"test", "tests", "testing", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
"""Folders whose docstrings are not prose, or not part of what is read."""
OWN = "pretrain"
"""Our own description changes with every commit and must not change a corpus."""


def units(source: CorpusSource) -> list[Unit]:
    """Groups of modules in sorted order, or one unit for what is small. Raises ConfigError for a missing package."""
    if source.collection == "stdlib-docs":
        library = Path(sysconfig.get_path("stdlib"))
        folders = [(library, library, f"Python {platform.python_version()}")]
    elif source.collection == "package-docs":
        folders = [(folder, folder.parent, stamp) for folder, stamp in map(_package, source.packages)]
    else:
        return [Unit(0, (str(source.collection),), stamp=_stamp(source))]
    groups = [(group, stamp) for folder, root, stamp in folders for group in _groups(folder, root)]
    return [Unit(index, group, stamp=stamp) for index, (group, stamp) in enumerate(groups)]


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The documents of a unit; `file` is relative to where Python finds its modules."""
    if source.collection == "package-descriptions":
        yield from _descriptions()
    elif source.collection == "language-reference":
        yield from _topics()
    else:
        root, *files = unit.items
        for file in files:
            yield from _docstrings(Path(root), file)


def _package(name: str) -> tuple[Path, str]:
    """Folder and version of an installed package, found without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError.of(
            "sources.packages", name, "must be an installed package", f"pip install {name}, or leave it out"
        )
    distributions = importlib.metadata.packages_distributions().get(name, [name])
    try:
        version = importlib.metadata.version(distributions[0])
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Path(next(iter(spec.submodule_search_locations))), f"{name} {version}"


def _groups(folder: Path, root: Path) -> list[tuple[str, ...]]:
    """Tuples of (root, file, file, ...): modules below `folder`, named relative to where Python finds them."""
    files = sorted(path.relative_to(root).as_posix() for path in folder.rglob("*.py") if not _skipped(path, folder))
    starts = range(0, len(files), MODULES_PER_UNIT)
    return [(str(root), *files[start : start + MODULES_PER_UNIT]) for start in starts]


def _skipped(path: Path, folder: Path) -> bool:
    return not SKIPPED.isdisjoint(path.relative_to(folder).parts[:-1])


def _docstrings(root: Path, file: str) -> Iterator[Document]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code
        try:
            tree = ast.parse((root / file).read_bytes())
        except (SyntaxError, ValueError, OSError):
            return  # templates and code for other Pythons
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for number, (name, text) in enumerate(_walk(tree, module), 1):
        yield Document(text, file, number, name)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """(dotted name, cleaned docstring) of a module and of the classes and functions in it, in order."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node, clean=True)
        if text and _is_unicode(text):
            yield name, text
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, f"{name}.{child.name}")


def _descriptions() -> Iterator[Document]:
    found = {
        distribution.name.lower(): distribution
        for distribution in importlib.metadata.distributions()
        if distribution.name and distribution.name.lower() != OWN
    }
    for number, (name, distribution) in enumerate(sorted(found.items()), 1):
        text = distribution.metadata.get("Description") or str(distribution.metadata.get_payload() or "")  # type: ignore[attr-defined]
        text = inspect.cleandoc(text)
        if text and _is_unicode(text):
            yield Document(text, "installed distributions", number, f"{name} {distribution.version}")


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for number, (name, text) in enumerate(sorted(topics.items()), 1):
        yield Document(inspect.cleandoc(text), "pydoc_data/topics.py", number, name)


def _stamp(source: CorpusSource) -> str:
    if source.collection == "language-reference":
        return f"Python {platform.python_version()}"
    names = {f"{d.name} {d.version}" for d in importlib.metadata.distributions() if d.name and d.name.lower() != OWN}
    return ", ".join(sorted(names))


def _is_unicode(text: str) -> bool:
    """Docstrings may hold lone surrogates, written as escapes."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
