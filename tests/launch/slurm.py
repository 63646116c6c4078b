#!/usr/bin/env python3
"""moe train under Slurm: a controller and two node daemons on this machine, started here (Debian's slurm-wlm and munge; root).
srun and sbatch, a signal ahead of the time limit, a rank killed, a node gone.   slurm.py MOE MPIRUN TEST_MPI"""
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import tiny_run

MOE = pathlib.Path(sys.argv[1]).resolve()
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "scancel", "scontrol", "sinfo")
CONFIGURATION = """
ClusterName=moetest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldPort={controller}
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""


def missing():
    where = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=where)]
    return f"no {absent[0]}" if absent else "" if getpass.getuser() == "root" else "not root"


def free_ports(count):
    """The first of some neighbouring free ports."""
    for first in range(26817, 60000, 10):
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
    raise RuntimeError("no free ports")


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        port = free_ports(3)
        (folder / "state").mkdir()
        text = CONFIGURATION.format(folder=folder, host=socket.gethostname(), controller=port, first=port + 1, last=port + 2)
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(text)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.variables = dict(tiny_run.environment(), SLURM_CONF=str(self.configuration),
                              PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        self.daemons = {}
        self.start("munge", "munged", "--foreground", "--force", "--key-file", key, "--socket", folder / "munge.socket",
                   "--pid-file", folder / "munged.pid", "--log-file", folder / "munged.log", "--seed-file", folder / "seed")
        self.wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        self.start("controller", "slurmctld", "-D", "-f", self.configuration)
        for node in ("n1", "n2"):
            self.start_node(node)
        self.wait_for(lambda: self.call("sinfo", "-h", "-o", "%T").stdout.split() == ["idle"], "two idle nodes")

    def start(self, name, *words):
        log = open(self.folder / f"{name}.out", "w", encoding="utf-8")
        self.daemons[name] = subprocess.Popen([str(word) for word in words], env=self.variables, stdout=log, stderr=log,
                                              start_new_session=True)

    def start_node(self, node):
        # Of its own: the folder in which the ranks of a machine find each other.
        (self.folder / f"tmp.{node}").mkdir(exist_ok=True)
        own = self.folder / f"{node}.conf"
        own.write_text(self.configuration.read_text() + f"TmpFS={self.folder}/tmp.{node}\n")
        self.start(node, "slurmd", "-D", "-f", own, "-N", node)

    @staticmethod
    def wait_for(there, what, seconds=60):
        until = time.monotonic() + seconds
        while not there():
            if time.monotonic() > until:
                raise RuntimeError(f"waited {seconds} s for {what}")
            time.sleep(0.1)

    def call(self, *words, seconds=120):
        return subprocess.run([str(word) for word in words], env=self.variables, capture_output=True, text=True,
                              timeout=seconds, check=False, cwd=self.folder)

    def stop(self):
        self.call("scancel", "--full", "--user=root")
        for name in ("n1", "n2", "controller", "munge"):
            self.daemons[name].terminate()
        for process in self.daemons.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@unittest.skipIf(missing(), missing())
class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="moe-test-slurm-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.cluster = Cluster(cls.folder)
        cls.addClassCleanup(cls.cluster.stop)
        cls.config = tiny_run.write_run(cls.folder)
        (cls.folder / "long").mkdir()
        cls.long = tiny_run.write_run(cls.folder / "long", steps=100000, silence=4)
        result = cls.cluster.call(MOE, "train", cls.config, "--out", cls.folder / "one")
        if result.returncode != 0:
            raise RuntimeError(result.stderr)

    def srun(self, ranks, config, out, *words):
        return ["srun", "--mpi=pmix", "-N", "2", "-n", ranks, MOE, "train", config, "--out", self.folder / out, *words]

    def expect_same(self, out):
        self.assertEqual(tiny_run.differences_of_runs(self.folder / out, self.folder / "one"), [])

    def start_long(self, out):
        """A run that goes on until it is ended, once it is in mid-run."""
        error = open(self.folder / f"{out}.err", "w+", encoding="utf-8")
        words = [str(word) for word in self.srun(3, self.long, out)]
        process = subprocess.Popen(words, env=self.cluster.variables, cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=error)
        lines = self.folder / out / "metrics.jsonl"
        self.cluster.wait_for(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 30, "30 steps", 120)
        return process, error

    def end_of(self, process, error):
        with error:
            status = process.wait(30)
            error.seek(0)
            return status, error.read()

    def expect_to_go_on(self, out):
        last = int(tiny_run.newest_checkpoint(self.folder / out).name[5:])
        result = self.cluster.call(*self.srun(2, self.long, out, "--resume", "--max-steps", last + 5))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(int(tiny_run.newest_checkpoint(self.folder / out).name[5:]), last + 5)

    def ranks(self):
        """The processes of a step, by rank."""
        out = {}
        for entry in pathlib.Path("/proc").iterdir():
            try:
                variables = dict(word.partition(b"=")[::2] for word in (entry / "environ").read_bytes().split(b"\0"))
                program = os.readlink(entry / "exe")
            except OSError:
                continue
            mine = variables.get(b"SLURM_CONF", b"").startswith(os.fsencode(self.folder))
            if mine and b"SLURM_PROCID" in variables and program == str(MOE):
                out[int(variables[b"SLURM_PROCID"])] = int(entry.name)
        return out

    def test_srun_trains_as_one_rank_does(self):
        for ranks in (2, 3):
            result = self.cluster.call(*self.srun(ranks, self.config, f"srun{ranks}"))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"{ranks} ranks on 1 machine", result.stderr)
            self.expect_same(f"srun{ranks}")

    def test_sbatch_trains_as_one_rank_does(self):
        script = self.folder / "run.sbatch"
        script.write_text(f"#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks=3\n#SBATCH --cpus-per-task=1\n"
                          f"srun --mpi=pmix {MOE} train {self.config} --out {self.folder}/sbatch\n")
        result = self.cluster.call("sbatch", "--wait", "--output", self.folder / "sbatch.log", script)
        self.assertEqual(result.returncode, 0, (self.folder / "sbatch.log").read_text())
        self.expect_same("sbatch")

    def test_refuses_srun_without_mpi(self):
        result = self.cluster.call("srun", "--mpi=none", "-n", 2, MOE, "train", self.config, "--out", self.folder / "none")
        self.assertNotEqual(result.returncode, 0)
        # Open MPI's own words, or where it starts each rank alone, ours.
        self.assertRegex(result.stderr, "direct launched using \"srun\"|expected 2 ranks, MPI knows of 1")
        self.assertFalse((self.folder / "none").exists())

    def test_signal_writes_a_checkpoint(self):
        process, error = self.start_long("signal")
        os.kill(self.ranks()[2], signal.SIGUSR1)  # one rank's is all ranks'
        status, text = self.end_of(process, error)
        self.assertEqual(status, 138, text)
        self.assertIn("stopped by signal 10", text)
        self.expect_to_go_on("signal")

    def test_rank_killed(self):
        process, error = self.start_long("killed")
        os.kill(self.ranks()[1], signal.SIGKILL)
        status, text = self.end_of(process, error)
        self.assertNotEqual(status, 0)
        self.assertRegex(text, rf"rank 1 on {tiny_run.HOST} |task 1: Killed")
        self.expect_to_go_on("killed")

    def test_rank_stopped(self):
        process, error = self.start_long("stopped")
        os.kill(self.ranks()[0], signal.SIGSTOP)
        status, text = self.end_of(process, error)
        self.assertNotEqual(status, 0)
        self.assertIn(f"rank 0 on {tiny_run.HOST} gave no sign of life", text)
        self.expect_to_go_on("stopped")

    def test_node_gone(self):
        process, error = self.start_long("gone")
        self.cluster.call("scontrol", "update", "nodename=n2", "state=down", "reason=test")
        status, text = self.end_of(process, error)
        self.assertNotEqual(status, 0, text)
        self.cluster.call("scontrol", "update", "nodename=n2", "state=resume")
        self.cluster.wait_for(lambda: self.cluster.call("sinfo", "-h", "-o", "%T").stdout.split() == ["idle"], "n2")
        self.expect_to_go_on("gone")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
