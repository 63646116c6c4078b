#!/usr/bin/env python3
"""Runs the commands of docs/howto/run_on_a_cluster.md that one machine can run, in their order.   docs_commands.py MOE MPIRUN"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tiny_run

MOE, MPIRUN = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/howto/run_on_a_cluster.md"
NEEDS_MORE = ("--host", "#SBATCH", "apptainer")  # machines, Slurm, a container


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="moe-test-docs-"))
    tiny_run.write_run(folder, steps=12)
    variables = dict(tiny_run.environment(), PATH=f"{MOE.parent}:{MPIRUN.parent}:{os.environ['PATH']}")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ran = [block for block in blocks if not any(word in block for word in NEEDS_MORE)]
    if len(ran) < 4:
        raise SystemExit(f"error: [docs_commands] expected at least 4 blocks that one machine can run, found {len(ran)}")
    for block in ran:
        # A machine of one core runs them too.
        script = block.replace("mpirun -n", "mpirun --oversubscribe -n")
        result = subprocess.run(["bash", "-euc", script], cwd=folder, env=variables, capture_output=True, text=True,
                                timeout=200, check=False)
        if result.returncode != 0:
            raise SystemExit(f"error: [docs_commands] status {result.returncode} of\n{block}\n{result.stderr}")
        print(f"ran\n{block}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
