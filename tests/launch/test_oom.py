"""Counts of processes killed for memory, from files as the kernel writes them."""

from pathlib import Path

from spfde_exp.launch.oom import oom_kills


def test_control_groups_of_version_2(tmp_path: Path) -> None:
    group = tmp_path / "slurm" / "job_7"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\n")
    (tmp_path / "proc").write_text("0::/slurm/job_7\n")
    assert oom_kills(tmp_path / "proc", tmp_path) == 2


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "slurm" / "job_7"
    group.mkdir(parents=True)
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "proc").write_text("5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n0::/unified\n")
    assert oom_kills(tmp_path / "proc", tmp_path) == 1


def test_where_nothing_counts(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "absent", tmp_path) == 0
    (tmp_path / "proc").write_text("0::/\n")  # the root group has no such file
    assert oom_kills(tmp_path / "proc", tmp_path) == 0


def test_this_process_has_not_been_killed() -> None:
    assert oom_kills() >= 0
