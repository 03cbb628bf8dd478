"""What the built-in student keeps of the exact method's gain, against the best of stock.

    python tools/bench/student_gain.py [--only coco imagenet video]

Odd images and second halves of clips, as in beat_stock.py, whose results name the best of stock of
each. A head is compared with its own teacher, and the blend, which is the default model, with the
exact method by the network that decides. mobilenet_v2 taught the student, too: what networks gain
that taught nobody, the harness can only say of those that a user has.
"""

from __future__ import annotations

import math
from typing import Any

from beat_stock import BEST, CLIP_RATES, IMAGE_RATES, contents
from bench_common import CACHE, command_line, machine, need, parser, told

from idse.evaluation.configuration import Configuration
from idse.evaluation.evaluate import Evaluation, Plan, evaluate
from idse.evaluation.panel import Panel
from idse.evaluation.report import as_json, markdown
from idse.evaluation.runner import Runner
from idse.evaluation.table import markdown_table, write_results

# Found by beat_stock.py on even images and first halves.
STOCK = {
    "coco": "aq-mode=2:aq-strength=0.7:psy=0",
    "imagenet": "aq-mode=3:aq-strength=1.5:psy=1",
    "video": "aq-mode=2:aq-strength=0.7:psy=1:qcomp=0.7",
}
TEACHERS = {"coco": "yolov4-tiny", "imagenet": "efficientnet-lite0", "video": "yolov4-tiny"}
EXACT, STUDENT, HEAD = "exact", "student (default)", "the teacher's head alone"


def configurations(name: str) -> tuple[Configuration, ...]:
    """Return what is compared on one kind of content."""
    teacher = TEACHERS[name]
    return (
        Configuration(name=BEST, arguments=f"--no-steer --x264-params {STOCK[name]}"),
        Configuration(name=EXACT, arguments=f"--model {teacher}"),
        Configuration(name=STUDENT, arguments=""),
        Configuration(name=HEAD, arguments=f"--model student@{teacher}"),
    )


def kept(found: Evaluation) -> list[list[str]]:
    """Return, for every sample and metric, the student's share of what the exact method gains."""
    rows = []
    for result in found.results:
        for metric, column in result.bd_rate.items():
            gain = column[EXACT].percent
            if math.isnan(gain) or gain >= 0:
                continue
            shares = [column[name].percent / gain for name in (STUDENT, HEAD)]
            told_ = ["" if math.isnan(share) else f"{share:.0%}" for share in shares]
            rows.append([result.sample.name, metric, f"{gain:+.1f}", *told_])
    return rows


def main() -> None:
    """Measure, print and write ``results/student_gain.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=list(STOCK), default=list(STOCK))
    options.add_argument("--jobs", type=int, default=2)
    args = options.parse_args()
    need("ffmpeg")
    facts = machine()
    text, shares, reports = "", [], []
    with Runner(args.jobs, progress=told) as runner:
        for name, parts, judges in contents(args.only):
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
    header = ["sample", "metric", "exact, %", "kept by the student", "kept by the head"]
    summary = f"# What the student keeps\n\n{markdown_table(header, shares)}\n"
    print(summary)
    data: dict[str, Any] = {"command": command_line(), "machine": facts, "reports": reports}
    write_results(args.results / "student_gain", data=data, markdown=summary + text)


if __name__ == "__main__":
    main()
