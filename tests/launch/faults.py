#!/usr/bin/env python3
"""What ranks do about one that leaves, throws, does not come, or dies while they compute.   faults.py MOE MPIRUN TEST_MPI"""
import sys
import time
import unittest

import tiny_run

MPIRUN, TEST_MPI = sys.argv[2:4]


class Faults(unittest.TestCase):
    def run_fault(self, fault):
        begun = time.monotonic()
        result = tiny_run.run([*tiny_run.mpirun_words(MPIRUN, 3), TEST_MPI, "--fault", fault])
        self.assertLess(time.monotonic() - begun, 30)
        return result

    def test_leave(self):
        result = self.run_fault("leave")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"rank 2 on {tiny_run.HOST} has left. Let all ranks make the same calls", result.stderr)

    def test_throw(self):
        result = self.run_fault("throw")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(result.stderr.count("expected paper"), 1, result.stderr)
        self.assertIn(f"rank 2 on {tiny_run.HOST} says: [test] expected paper", result.stderr)

    def test_stuck(self):
        result = self.run_fault("stuck")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(result.stderr.count(f"expected rank 2 on {tiny_run.HOST} to come to all_reduce (sum)"), 1,
                         result.stderr)

    def test_death_while_the_others_compute(self):
        result = self.run_fault("busy")
        self.assertNotEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, tiny_run.named(2))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
