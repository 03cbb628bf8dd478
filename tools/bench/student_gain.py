"""What the built-in student keeps of the exact method's gain, against the best of stock.

    python tools/bench/student_gain.py [--only coco imagenet video] [--clips without own stills]

Odd images and second halves of clips, as in beat_stock.py, whose results name the best of stock of
each. On photographs efficientnet-lite1 judges, too, which taught nobody: what is gained for it is
transfer, the student's as the exact method's. Clips are also steered by a student that was trained
without them, as for a camera that it has never seen (`tools/train/student.py --without CLIP`, made
where there is none yet), by one that `idse distill` makes of the clip's own first half, and by the
one for stills, which learned from photographs alone.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from beat_stock import BEST, CLIP_RATES, IMAGE_RATES, Parts, contents
from bench_common import CACHE, ROOT, command_line, machine, need, parser, told

from idse.evaluation.configuration import Configuration
from idse.evaluation.evaluate import Evaluation, Plan, evaluate
from idse.evaluation.panel import Panel
from idse.evaluation.report import as_json, markdown
from idse.evaluation.runner import Runner
from idse.evaluation.table import markdown_table, write_results
from idse.learned.student.analyser import student_path
from idse.vision.registry import STUDENT as STUDENT_NAME

# Found by beat_stock.py on even images and first halves.
STOCK = {
    "coco": "aq-mode=2:aq-strength=0.7:psy=0",
    "imagenet": "aq-mode=3:aq-strength=1.5:psy=1",
    "video": "aq-mode=2:aq-strength=0.7:psy=1:qcomp=0.7",
}
TEACHERS = {"coco": "yolov4-tiny", "imagenet": "efficientnet-lite0", "video": "yolov4-tiny"}
EXACT, STUDENT = "exact", "student (default)"
CLIP_STUDENTS = {
    "without": "student that never saw the clip",
    "own": "student of the clip's first half",
    "stills": "student for stills",
}
# A judge that taught nobody, and what else is asked by whose maps it gains.
STRANGER = "efficientnet-lite1"
ACROSS = "exact, yolov4-tiny"
# Below it a share of what is gained says nothing.
LEAST_GAIN = 5.0


def configurations(name: str) -> tuple[Configuration, ...]:
    """Return what is compared on one kind of content."""
    found = [
        Configuration(name=BEST, arguments=f"--no-steer --x264-params {STOCK[name]}"),
        Configuration(name=EXACT, arguments=f"--model {TEACHERS[name]}"),
        Configuration(name=STUDENT, arguments=""),
    ]
    if name == "imagenet":
        found.append(Configuration(name=ACROSS, arguments="--model yolov4-tiny"))
    return tuple(found)


def clip_student(part: Parts, kind: str) -> Configuration:
    """Return a student that never saw a clip, or one of its first half, made where missing."""
    if kind == "stills":
        stills = student_path(STUDENT_NAME, stills=True)
        return Configuration(name=CLIP_STUDENTS[kind], arguments=f"--model {stills}")
    first = part.decided_on
    assert first is not None
    out = CACHE / "students" / f"{kind}-{Path(first.name).stem}.safetensors"
    make = [sys.executable, ROOT / "tools/train/student.py", "--cache", CACHE / "lessons"]
    make += ["--without", first.name]
    if kind == "own":
        make = [sys.executable, "-m", "idse.cli", "distill", "--model", TEACHERS["video"]]
        make += ["--video", first.path, "--pictures", "160", "--steps", "600"]
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*make, "--out", out], check=True)
    return Configuration(name=CLIP_STUDENTS[kind], arguments=f"--model {out}")


def kept(found: Evaluation, names: tuple[str, ...] = (STUDENT,)) -> list[list[str]]:
    """Return, for every sample and metric, what students keep of what the exact method gains."""
    rows = []
    for result in found.results:
        for metric, column in result.bd_rate.items():
            gain = column[EXACT].percent
            if math.isnan(gain) or gain > -LEAST_GAIN:
                continue
            for name in names:
                share = column[name].percent / gain
                if not math.isnan(share):
                    rows.append([result.sample.name, metric, name, f"{gain:+.1f}", f"{share:.0%}"])
    return rows


def main() -> None:
    """Measure, print and write ``results/student_gain.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=list(STOCK), default=list(STOCK))
    options.add_argument(
        "--clips", nargs="*", choices=list(CLIP_STUDENTS), default=list(CLIP_STUDENTS)
    )
    options.add_argument("--jobs", type=int, default=2)
    args = options.parse_args()
    need("ffmpeg")
    facts = machine()
    text, shares, reports = "", [], []
    with Runner(args.jobs, progress=told) as runner:
        for name, parts, taught in contents(args.only):
            judges = taught if name == "video" else (*taught, STRANGER)
            panel = Panel(models=judges, cache=CACHE)
            plan = Plan(
                sources=tuple(part.reported for part in parts),
                configurations=configurations(name),
                anchor=BEST,
                rates=CLIP_RATES if name == "video" else IMAGE_RATES,
            )
            found = evaluate(plan, panel, runner)
            title = f"{name}: maps by the student and by {TEACHERS[name]}"
            table = markdown(found, title=title, command=command_line(), judges=judges)
            print(table, flush=True)
            text += table
            shares += kept(found)
            reports.append(as_json(found, {"judges": list(judges)}))
            for part in parts if name == "video" and args.clips else []:
                first, exact, *_ = configurations(name)
                students = [clip_student(part, kind) for kind in args.clips]
                plan = replace(
                    plan, sources=(part.reported,), configurations=(first, exact, *students)
                )
                found = evaluate(plan, panel, runner)
                title = "students made for one clip"
                table = markdown(found, title=title, command=command_line(), judges=judges)
                text += table
                shares += kept(found, tuple(student.name for student in students))
                reports.append(as_json(found, {"judges": list(judges)}))
    header = ["sample", "metric", "maps by", "exact, %", "kept"]
    summary = f"# What the student keeps\n\n{markdown_table(header, shares)}\n"
    print(summary)
    data: dict[str, Any] = {"command": command_line(), "machine": facts, "reports": reports}
    # Where students lie is nobody's business.
    for folder in (CACHE, student_path(STUDENT_NAME).parent):
        data, text = (
            json.loads(json.dumps(part).replace(f"{folder}/", "")) for part in (data, text)
        )
    write_results(args.results / "student_gain", data=data, markdown=summary + text)


if __name__ == "__main__":
    main()
