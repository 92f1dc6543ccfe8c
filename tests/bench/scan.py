"""A full pass over 10,000 unchanged files, against a bare recursive scandir + stat over the same files.

`python -m tests.bench.scan`
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.bench.result import Result

FILES = 10_000
FOLDERS = 100
RUNS = 25
GOAL = 1.3


def measure() -> Result:
    """Both in turns, in one process, on a committed fleet in subfolders; the median of the ratios of each turn."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_fleet(root)
        clock = SystemClock()
        worktree = Worktree(root, clock, WorktreeOptions(racy_s=0.0))
        first = worktree.read()
        assert len(first.instances) == FILES
        assert first.whole, first.not_whole
        assert first.clean
        passes, bare = [], []
        for _ in range(RUNS):
            started = perf_counter()
            again = worktree.read()
            passes.append(perf_counter() - started)
            assert again is first
            started = perf_counter()
            assert stat_all(f"{root}/instances") == FILES
            bare.append(perf_counter() - started)
    ratio = median(ours / theirs for ours, theirs in zip(passes, bare, strict=True))
    return Result(
        work=f"full pass over {FILES:,} unchanged files",
        to_reach=f"≤ {GOAL} × a bare scandir + stat",
        figure=f"{median(passes) * 1e3:.1f} ms",
        ok=ratio <= GOAL,
        peer=f"bare scandir + stat {median(bare) * 1e3:.1f} ms",
        ratio=ratio,
        note=f"{FOLDERS} folders of a git repository; the pass also looks whether HEAD moved and git is at work",
    )


def make_fleet(root: Path) -> None:
    """A committed fleet of FILES instance files in FOLDERS folders."""
    for number in range(FILES):
        path = root / "instances" / f"team-{number % FOLDERS}" / f"grid-{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"id: grid-{number}\nstrategy_type: grid\nmode: observe\nconfig:\n  levels: 5\n" * 4)
    (root / "strategies").mkdir()
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "The fleet")):
        subprocess.run(("git", *command), cwd=root, check=True)


def stat_all(folder: str) -> int:
    """The peer: the least that any program must do to know that no file changed."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += stat_all(entry.path)
            else:
                entry.stat(follow_symlinks=False)
                count += 1
    return count


if __name__ == "__main__":
    print(measure())
