"""``idse models``: list, install and describe the built-in networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser("models", help="list, install and describe networks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the built-in models and whether they are installed")
    installing = actions.add_parser("install", help="download models into the cache, or repair")
    installing.add_argument("names", nargs="+", metavar="NAME")
    info = actions.add_parser("info", help="one model in full, with its layers")
    info.add_argument("name", metavar="NAME")
    for action in (listing, installing, info):
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.vision import registry

    if args.action == "info":
        return _info(args.name, as_json=args.json)
    if args.action == "install":
        specs = [registry.find_model(name) for name in args.names if name != registry.STUDENT]
        for spec in specs:
            registry.install(spec.name)
        names = args.names
    else:
        names = [registry.STUDENT, *(spec.name for spec in registry.list_models())]
    rows = [row for name in names for row in _describe(name)]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
    return 0


def _describe(name: str) -> list[dict[str, Any]]:
    """Return what there is to say of a model's network: of both, for the built-in student."""
    from idse.pipeline.makers import built_in
    from idse.vision import registry

    if registry.is_student(name):
        if not built_in([name]):
            return [_describe_student(name, "map", stills=False)]
        return [
            _describe_student(name, "map of video", stills=False),
            _describe_student(name, "map of stills", stills=True),
        ]
    spec = registry.find_model(name)
    facts: dict[str, Any] = {
        "name": spec.name,
        "state": registry.check(spec.name),
        "task": spec.task,
        "input": f"{spec.size[0]}x{spec.size[1]}",
        "parameters": spec.parameters,
        "download_bytes": spec.wheel_bytes,
        "licence": spec.licence,
        "source": f"PyPI {spec.requirement}",
        "description": spec.description,
        "path": str(registry.model_dir(spec.name)),
    }
    return [facts]


def _describe_student(name: str, task: str, *, stills: bool) -> dict[str, Any]:
    from idse.errors import ModelError
    from idse.learned.student.analyser import check_head, student_path
    from idse.learned.student.file import read_student
    from idse.pipeline.makers import built_in
    from idse.vision.registry import split_student

    path = student_path(name, stills=stills)
    facts: dict[str, Any] = {"name": name, "state": "missing", "task": task, "input": ""}
    facts |= {"parameters": 0, "download_bytes": 0, "licence": "Apache-2.0", "source": "idse"}
    facts |= {"description": "predicts what networks look at", "path": str(path)}
    own = not built_in([name])
    if not own and not path.is_file():
        return facts
    try:
        student = read_student(path)
    except ModelError as error:
        if own:
            raise
        return facts | {"state": "damaged", "description": str(error)}
    check_head(student, split_student(name)[1], name)
    return facts | {
        "state": "installed",
        "input": f"{student.area} samples",
        "parameters": sum(tensor.size for tensor in student.tensors.values()),
        "description": f"predicts what {', '.join(student.heads)} look at",
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    columns = ("name", "state", "task", "input", "download", "licence", "source")
    shown = [row | {"download": f"{row['download_bytes'] / 1e6:.0f} MB"} for row in rows]
    widths = [max(len(column), *(len(row[column]) for row in shown)) for column in columns]
    for cells in (columns, *([row[column] for column in columns] for row in shown)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip())


def _info(name: str, *, as_json: bool) -> int:
    from idse.vision import registry

    rows = _describe(name)
    if not registry.is_student(name):
        from idse.vision import load_model

        # Installs the model if it is missing.
        rows[0] |= {"layers": load_model(name).layers, "state": registry.check(name)}
    if as_json:
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=2))
        return 0
    for facts in rows:
        layers = facts.pop("layers", None)
        for key, value in facts.items():
            print(f"{key + ':':16}{value}")
        if layers is not None:
            print("layers (use as NAME@LAYER):")
            for layer in layers:
                print(f"  {layer}")
    return 0
