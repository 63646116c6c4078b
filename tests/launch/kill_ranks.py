#!/usr/bin/env python3
"""Kills ranks of moe train at random moments and looks what becomes of the job: it ends within 30 s and not with status 0,
a rank that was killed or stopped is named with its host, and resumed it comes to the very bits of a run that nobody
disturbed.   kill_ranks.py MOE MPIRUN [--kills N] [--ranks 2,3,4] [--seed S]"""
import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import tiny_run

SECONDS_TO_END = 30


def ranks_of(mpirun):
    """The processes that mpirun started, by rank."""
    out = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent != mpirun:
                continue
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                out[int(variable.partition(b"=")[2])] = int(entry.name)
    return out


def last_step(out):
    """Of the newest checkpoint; 0: there is none."""
    return max((int(path.name[5:]) for path in out.glob("checkpoints/step-*[0-9]")), default=0)


class Job:
    def __init__(self, options, config, out, ranks):
        self.ranks = ranks
        words = tiny_run.mpirun_words(options.mpirun, ranks)
        self.error = open(f"{out}.err", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*words, options.moe, "train", str(config), "--out", str(out), *(["--resume"] if last_step(out) else [])],
            env=tiny_run.environment(), stdout=subprocess.DEVNULL, stderr=self.error)

    def wait(self, seconds):
        """The exit status; None: it still runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def errors(self):
        self.error.seek(0)
        return self.error.read()

    def lines(self, out):
        try:
            return (out / "metrics.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0


def fail(message, job):
    raise SystemExit(f"error: [kill_ranks] {message}\n{job.errors()}")


def disturb(job, kind, draw):
    """Sends the signal to a random rank; which, or None when the job has come to its end by itself."""
    ranks = ranks_of(job.process.pid)
    rank = draw.randrange(job.ranks)
    if rank not in ranks:
        return None
    try:
        os.kill(ranks[rank], kind)
    except ProcessLookupError:
        return None
    return rank


def check_end(job, kind, rank, begun):
    status = job.wait(SECONDS_TO_END)
    took = time.monotonic() - begun
    if status is None:
        fail(f"expected the end within {SECONDS_TO_END} s of {kind.name} to rank {rank}", job)
    text = job.errors()
    if status == 0:
        return f"done before {kind.name} came", took
    if kind != signal.SIGTERM and not re.search(tiny_run.named(rank), text):
        fail(f"expected rank {rank} and its host in what was printed after {kind.name}", job)
    by = "moe" if f"rank {rank} on {tiny_run.HOST} " in text else "mpirun" if kind != signal.SIGTERM else "nobody"
    return f"status {status}, named by {by}", took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("moe")
    parser.add_argument("mpirun")
    parser.add_argument("unused", nargs="*")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--ranks", default="2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="moe-test-kills-"))
    # Silent for 4 s is dead here: the tests are to be short.
    config = tiny_run.write_run(folder, steps=options.steps, checkpoint_every=10, silence=4)
    numbers = [int(text) for text in options.ranks.split(",")]
    whole = {}
    for ranks in numbers:
        out = folder / f"whole{ranks}"
        begun = time.monotonic()
        job = Job(options, config, out, ranks)
        if job.wait(600) != 0:
            fail(f"expected {ranks} ranks to train", job)
        whole[ranks] = tiny_run.tensors(tiny_run.newest_checkpoint(out))
        print(f"{ranks} ranks: {options.steps} steps undisturbed in {time.monotonic() - begun:.1f} s", flush=True)

    kinds = [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM]
    kills, runs, longest = 0, 0, 0.0
    while kills < options.kills:
        ranks = numbers[runs % len(numbers)]
        out = folder / f"run{runs}"
        runs += 1
        # A run is killed three times, then left to end.
        for attempt in range(4):
            before = last_step(out)
            job = Job(options, config, out, ranks)
            if attempt == 3 or kills == options.kills:
                if job.wait(600) != 0:
                    fail("expected the resumed run to end well", job)
                break
            kind = kinds[kills % len(kinds)]
            # Sometimes while it starts, mostly in mid-run. (Who is stopped before MPI has started, is the launcher's.)
            starts = kind != signal.SIGSTOP and draw.random() < 0.2
            wanted = -1 if starts else before * 11 // 10 + draw.randrange(1, options.steps // 4)
            until = time.monotonic() + (60 if wanted > 0 else draw.uniform(0.5, 3))
            while job.process.poll() is None and time.monotonic() < until and (
                    wanted < 0 or job.lines(out) < wanted):
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.05))
            begun = time.monotonic()
            rank = disturb(job, kind, draw)
            if rank is None:
                if job.wait(60) != 0 and wanted > 0:
                    fail("expected the run to end well", job)
                continue
            what, took = check_end(job, kind, rank, begun)
            longest = max(longest, took)
            kills += 1
            print(f"{kills}: {kind.name} to rank {rank} of {ranks}: ended in {took:.1f} s, {what}", flush=True)
        if tiny_run.tensors(tiny_run.newest_checkpoint(out)) != whole[ranks]:
            fail("expected the bits of the undisturbed run", job)
        shutil.rmtree(out)
    print(f"{kills} kills in {runs} runs: all ended within {longest:.1f} s, named, and resumed to the same bits")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
