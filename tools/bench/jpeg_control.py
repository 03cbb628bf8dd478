"""Learned JPEG control: its parts against libjpeg-turbo, and the whole against what one could do.

python tools/bench/jpeg_control.py forward
python tools/bench/jpeg_control.py attack [--pictures 6]
python tools/bench/jpeg_control.py sizes [--imagenet 125] [--coco 64]
python tools/bench/jpeg_control.py compare [--imagenet 125] [--coco 64]
"""

from __future__ import annotations

import sys

import control_compare
import control_forward
import control_sizes
from bench_common import parser


def main() -> int:
    made = parser(__doc__, quick=True)
    parts = made.add_subparsers(required=True)
    forward = parts.add_parser("forward", help="differentiable JPEG")
    forward.set_defaults(run=control_forward.run)
    attack = parts.add_parser("attack", help="attacks through it")
    attack.add_argument("--pictures", type=int, default=6, help="pictures (%(default)s)")
    attack.set_defaults(run=control_forward.run_attacks)
    sizes = parts.add_parser("sizes", help="the model of file sizes")
    sizes.set_defaults(run=control_sizes.run)
    compare = parts.add_parser("compare", help="control against what one could do without it")
    compare.set_defaults(run=control_compare.run)
    for part in (sizes, compare):
        part.add_argument("--imagenet", type=int, default=125, help="pictures (%(default)s)")
        part.add_argument("--coco", type=int, default=64, help="pictures (%(default)s)")
    args = made.parse_args()
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
