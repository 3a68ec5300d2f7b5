"""The order of the rooms, and checks of sources against it: who imports whom, circles, paths."""

from __future__ import annotations

import ast
import re

# The Python side, ground first. A room knows itself and the floors below; rooms of one floor do
# not know one another. A room is a file or a folder of `python/bpcore`.
FLOORS = (
    ("_core", "_version", "errors"),
    ("_load", "datasets"),
    ("base",),
    ("activations", "constraints", "initializers", "losses", "metrics", "regularizers",
     "schedules"),
    ("data", "graph"),
    ("credit", "inspection", "layers", "optimizers"),
    ("ops",),
    ("diagnosis", "export", "files"),
    ("callbacks",),
    ("train",),
    ("model",),
    ("interop", "plotting"),
    ("ensembles", "sklearn"),
    ("tabular",),
    ("cli",),
)  # fmt: skip
FREE = {"", "__main__"}  # `bpcore/__init__.py` hands names on
FLOOR = {room: i for i, floor in enumerate(FLOORS) for room in floor}


def modules(folder):
    """The sources of a package's files by dotted name: "" is its `__init__`, "graph" a folder's."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imports(name, source, known, packages, package="bpcore"):
    """(line, module) of all that a file imports of its package, wherever in the file it does so.

    `known` are the package's modules, `packages` those that are folders. A name that is no module
    is of the module it comes from; "" is the package itself.
    """
    home = name.split(".") if name else []
    if name not in packages:
        home = home[:-1]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == package:
                    found.append((node.lineno, ".".join(parts[1:])))
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                parts = home[: len(home) - node.level + 1] + parts
            elif parts[0] == package:
                parts = parts[1:]
            else:
                continue
            for alias in node.names:
                full = ".".join([*parts, alias.name])
                found.append((node.lineno, full if full in known else ".".join(parts)))
    return found


def upward(sources):
    """Findings, as text: files without a room, and imports of a room that is not below."""
    known = {*sources, "_core"}
    packages = {"", *_folders(sources)}
    findings = []
    for name, source in sources.items():
        room = name.partition(".")[0]
        if name in FREE:
            continue
        if room not in FLOOR:
            findings.append(f"{name}: is in no room of the order")
            continue
        for line, target in imports(name, source, known, packages):
            other = target.partition(".")[0]
            if other == room:
                continue
            if other not in FLOOR or FLOOR[other] >= FLOOR[room]:
                findings.append(f"{name}, line {line}: {room} imports {target or 'bpcore'}")
    return findings


def _folders(sources):
    """Names whose file is an `__init__`: those that others lie in."""
    return {name for name in sources if any(other.startswith(f"{name}.") for other in sources)}


def arrows(sources):
    """Of each file the files it imports."""
    known = {*sources, "_core"}
    packages = {"", *_folders(sources)}
    return {
        name: {target for _, target in imports(name, source, known, packages)} & {*sources}
        for name, source in sources.items()
        if name not in FREE
    }


def includes(folder, rooms):
    """Of each C++ file of these rooms the files it includes, by paths."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".h", ".cpp") and path.relative_to(folder).parts[0] in rooms:
            text = without_comments(path.read_text(encoding="utf-8"))
            found[path.relative_to(folder).as_posix()] = set(
                re.findall(r'#include "([^"]+)"', text)
            )
    return {
        name: {t if t in found else f"{name.rpartition('/')[0]}/{t}" for t in targets} & {*found}
        for name, targets in found.items()
    }


def without_comments(text):
    """C++ without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


def by_room(edges, separator):
    """Arrows between rooms, from arrows between files."""
    found = {}
    for name, targets in edges.items():
        room = name.partition(separator)[0]
        found.setdefault(room, set()).update({t.partition(separator)[0] for t in targets} - {room})
    return found


_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]*)+|[\w-]+\.(?:py|pyi|cpp|h|md|toml|yml|json))`")


def paths(text):
    """(line, path) of all paths in backticks."""
    return [
        (text.count("\n", 0, match.start()) + 1, match.group(1)) for match in _PATH.finditer(text)
    ]


def lost(folder, own, path):
    """Whether a path that the file `own` names is nowhere: neither from the top, nor from where
    its readers look, nor beside it. A file called x stands for any; ``layer/weight`` is no path,
    and what lies in ``build/`` is made by a command.
    """
    if path.startswith("build/"):
        return False
    roots = (folder, folder / "python", folder / "python/bpcore", folder / "cpp", folder / "tests")
    for place in (*roots, own.parent):
        there = place / path
        if there.exists() or (there.stem == "x" and there.parent.is_dir()):
            return False
    names_a_file = "." in path.rpartition("/")[2] or path.endswith("/")
    return names_a_file or any((place / path.partition("/")[0]).is_dir() for place in roots)


def circle(edges):
    """The names of one circle in order, or None."""
    state = {}  # 1: on the way, 2: done
    for root in edges:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(sorted(edges[root])))]
        while stack:
            name, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                state[name] = 2
                stack.pop()
            elif state.get(target) == 1:
                way = [n for n, _ in stack]
                return [*way[way.index(target) :], target]
            elif target not in state and target in edges:
                state[target] = 1
                stack.append((target, iter(sorted(edges[target]))))
    return None


# ---- the contract of operations ----------------------------------------------------------------


def operations(table):
    """The names in the table of operations."""
    return set(re.findall(r'row\("(\w+)"', table))


def questions(source, names):
    """(line, comparison) where a Python source compares the name of an operation.

    A text counts where the other side is called `op` or is taken from a node: the same words may
    be names of functions or of kinds elsewhere.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        texts = {c.value for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)}
        words = " ".join(ast.unparse(s) for s in sides if not isinstance(s, ast.Constant))
        if texts & names and re.search(r"\bop\b|nodes?\b[^ ]*\[", words):
            found.append((node.lineno, ast.unparse(node)))
    return found


def cpp_questions(source, names):
    """The same for C++: a comparison with such a text, or with whatever text of an `op`."""
    found = []
    for number, line in enumerate(without_comments(source).splitlines(), 1):
        compared = re.findall(r'([\w.>()-]+)\s*[!=]=\s*"(\w*)"', line)
        compared += [(b, a) for a, b in re.findall(r'"(\w*)"\s*[!=]=\s*([\w.>()-]+)', line)]
        for other, text in compared:
            if re.search(r"\bop$", other) or (text in names and not other.endswith("kind")):
                found.append((number, line.strip()))
    return found


def declared(header, name):
    """The body of a class or struct in a C++ header, without comments."""
    text = without_comments(header)
    begin = re.search(rf"\b(?:class|struct) {name}\b[^;{{]*{{", text).end()
    depth, end = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return text[begin : end - 1]


# ---- what is private to a model ----------------------------------------------------------------


def private_names(sources, room="model", methods=False):
    """The names with an underscore that classes of a room have; only of their methods, if told."""
    found = set()
    for name, source in sources.items():
        if name.partition(".")[0] != room:
            continue
        for owner in ast.walk(ast.parse(source)):
            if not isinstance(owner, ast.ClassDef):
                continue
            for node in ast.walk(owner):
                if isinstance(node, ast.FunctionDef):
                    found.add(node.name)
                elif methods:
                    continue
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    found.add(node.target.id)
                elif isinstance(node, ast.Attribute) and _is_own(node):
                    found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def reach_ins(sources, room="model"):
    """Findings, as text: other rooms' uses of an attribute that is private to a model.

    A method of that name in the reading room is taken for the one that is meant.
    """
    names, findings = private_names(sources, room), []
    others = {name.partition(".")[0] for name in sources} - {room}
    own = {other: private_names(sources, other, methods=True) for other in others}
    for name, source in sources.items():
        other = name.partition(".")[0]
        if other == room:
            continue
        theirs = names - own[other]
        findings += [
            f"{name}, line {node.lineno}: {ast.unparse(node)}"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and node.attr in theirs and not _is_own(node)
        ]
    return findings


def _is_own(node):
    """Whether an attribute is asked of `self`, of `cls` or of ``super()``."""
    owner = node.value.func if isinstance(node.value, ast.Call) else node.value
    return isinstance(owner, ast.Name) and owner.id in ("self", "cls", "super")
