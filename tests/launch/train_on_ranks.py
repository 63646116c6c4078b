#!/usr/bin/env python3
"""moe train under mpirun against one process: the same losses, gradient norms, loads and parameters; who speaks; what is
refused.   train_on_ranks.py MOE MPIRUN TEST_MPI [tests of unittest]"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import tiny_run

MOE, MPIRUN = sys.argv[1:3]
ROOT = pathlib.Path(__file__).resolve().parents[2]


class TrainOnRanks(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="moe-test-ranks-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = tiny_run.write_run(self.folder)

    def train(self, ranks, out, *words):
        start = tiny_run.mpirun_words(MPIRUN, ranks) if ranks > 1 else []
        return tiny_run.run([*start, MOE, "train", self.config, "--out", self.folder / out, *words])

    def trained(self, ranks, out, *words):
        result = self.train(ranks, out, *words)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def expect_same(self, found, expected):
        self.assertEqual(tiny_run.differences_of_runs(self.folder / found, self.folder / expected), [])

    def test_train_as_one_rank_does(self):
        self.trained(1, "one")
        lines = [line for line in tiny_run.metrics(self.folder / "one") if "eval" not in line]
        self.assertEqual(len(lines), 20)
        self.assertGreater(sum(layer["dropped"] for line in lines for layer in line["layers"]), 0, "capacity did nothing")
        self.assertGreater(sum(line["grad_norm"] > 0.1 for line in lines), 10, "clipping did nothing")
        for ranks in (2, 3):
            with self.subTest(ranks=ranks):
                out = f"ranks{ranks}"
                result = self.trained(ranks, out)
                self.expect_same(out, "one")
                # Rank 0 alone speaks.
                self.assertEqual(result.stdout.count("step 20 after"), 1, result.stdout)
                self.assertEqual(result.stderr.count("training "), 1, result.stderr)
                self.assertIn(f"{ranks} ranks on 1 machine", result.stderr)

    def test_exchange_in_other_ways_with_the_same_results(self):
        self.trained(1, "one")
        ways = {"chunks": ["parallel.chunks=2", "parallel.overlap_gradients=true"],
                "measured": ["parallel.chunks=0", "parallel.route=machines"]}
        for name, settings in ways.items():
            words = [word for setting in settings for word in ("--set", setting)]
            for ranks in (1, 2, 3, 4):
                with self.subTest(way=name, ranks=ranks):
                    self.trained(ranks, f"{name}{ranks}", *words)
                    self.expect_same(f"{name}{ranks}", "one")

    def test_exchange_in_fewer_bits_and_say_what_it_loses(self):
        words = ["--set", "parallel.exchange=int8"]
        for ranks in (1, 2, 3):
            self.trained(ranks, f"int8_{ranks}", *words)
        for ranks in (2, 3):
            self.expect_same(f"int8_{ranks}", "int8_1")
        layer = tiny_run.metrics(self.folder / "int8_2")[0]["layers"][0]
        self.assertGreater(layer["exchange_cosine"], 0.999)
        self.assertLess(layer["exchange_error_backward"], 0.05)
        refused = self.train(2, "refused", "--set", "parallel.exchange=int4")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("expected parallel.exchange to be one of full, bfloat16, float8, int8", refused.stderr)

    def test_go_on_with_another_number_of_ranks(self):
        self.trained(1, "whole")
        self.trained(3, "run", "--max-steps", "10")
        shutil.copytree(self.folder / "run", self.folder / "alone")
        self.trained(2, "run", "--resume")
        self.expect_same("run", "whole")
        self.trained(1, "alone", "--resume")
        self.expect_same("alone", "whole")

    def test_go_on_with_experts_placed_as_the_docs_say(self):
        self.trained(1, "whole")
        self.trained(2, "out/mine", "--max-steps", "10")
        shutil.copy(ROOT / "configs/clusters/two_nodes.toml", self.folder)
        page = (ROOT / "docs/parallel.md").read_text(encoding="utf-8")
        script = re.search(r"```sh\n(.*?)```", page, re.DOTALL).group(1).replace("mpirun -n", "mpirun --oversubscribe -n")
        path = os.pathsep.join([str(pathlib.Path(word).resolve().parent) for word in (MOE, MPIRUN)] + [os.environ["PATH"]])
        result = subprocess.run(["bash", "-euc", script], cwd=self.folder, env=dict(tiny_run.environment(), PATH=path),
                                capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("rows a token between ranks", result.stderr)
        self.expect_same("out/mine", "whole")
        placed = json.loads((self.folder / "placement.json").read_text())
        counted = json.loads((self.folder / "out/mine/exchange.json").read_text())
        self.assertEqual(counted["steps"], [10, 20])
        for layer, place in zip(counted["layers"], placed["layers"]):
            self.assertEqual(len(layer["rows_to_ranks"]), 4)
            # Capacity leaves some rows at home.
            self.assertAlmostEqual(layer["rows_a_token_between_ranks"], place["predicted"]["between_ranks"], delta=0.3)
            self.assertEqual(layer["bytes_between_ranks"], layer["rows_between_ranks"] * 16 * 8)

    def test_train_with_copies_of_experts(self):
        self.trained(1, "one")
        layer = {"rank_of_expert": [2, 2, 0, 0, 2, 0],
                 "replicas": [{"expert": 1, "ranks": [2, 0, 1]}, {"expert": 3, "ranks": [0, 1]}]}
        placement = {"format": "moe-expert-placement", "version": 1, "ranks": 3, "ranks_per_node": 3,
                     "layers": [dict(layer, layer=0), dict(layer, layer=1)]}
        path = self.folder / "copies.json"
        path.write_text(json.dumps(placement))
        self.trained(3, "copies", "--set", f"parallel.placement={path}")
        self.expect_same("copies", "one")
        placement["layers"].pop()
        path.write_text(json.dumps(placement))
        result = self.train(3, "refused", "--set", f"parallel.placement={path}")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("a placement of layer 1, which has 6 experts, found none"), 1, result.stderr)
        self.assertFalse((self.folder / "refused").exists())

    def test_say_once_what_is_wrong_on_all_ranks(self):
        self.config.write_text(self.config.read_text().replace("dropout", "dropuot"))
        result = self.train(3, "out")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("dropuot"), 1, result.stderr)
        self.assertIn(f"error: rank 0 on {tiny_run.HOST}: [config]", result.stderr)
        self.assertFalse((self.folder / "out").exists())

    def test_say_once_what_is_wrong_with_the_command_line(self):
        result = self.train(3, "out", "--resmue")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("--resmue"), 1, result.stderr)

    def test_name_the_rank_that_fails(self):
        # Rank 0 alone writes, and cannot.
        (self.folder / "out").mkdir()
        (self.folder / "out" / "checkpoints").write_text("in the way")
        result = self.train(2, "out")
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(result.stderr.count("error: "), 1, result.stderr)
        self.assertIn(f"error: rank 0 on {tiny_run.HOST}: ", result.stderr)

    def test_refuse_other_commands(self):
        result = tiny_run.run([*tiny_run.mpirun_words(MPIRUN, 2), MOE, "inspect", "--list", "router"])
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("only `moe train` runs on several ranks"), 1, result.stderr)
        self.assertEqual(result.stdout, "")

    def test_one_rank_needs_no_mpi(self):
        result = tiny_run.run([*tiny_run.mpirun_words(MPIRUN, 1), MOE, "inspect", "--list", "router"])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("MPI: ", tiny_run.run([MOE, "--version"]).stdout)

    def test_refuse_a_launcher_that_mpi_does_not_know(self):
        # What srun says without MPI's own support: every rank would train alone, into one folder.
        os.environ.update(SLURM_PROCID="0", SLURM_STEP_NUM_TASKS="2")
        try:
            result = self.train(1, "out")
        finally:
            del os.environ["SLURM_PROCID"], os.environ["SLURM_STEP_NUM_TASKS"]
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("expected 2 ranks, MPI knows of 1", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
