"""Print the ratios of `serann benchmark annotate` in one run.

python tests/benchmarks/annotate.py [--device cuda] [--quick]
"""

import argparse
import json
import os
import sys

# Before torch is imported: the benchmark is of one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    from serann.annotator.benchmark import benchmark_annotate

    found = benchmark_annotate(
        device=options.device, quick=options.quick, say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
