"""The CPU quota of control groups: trees of files like the kernel's, and a container's own view."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from bpcore import _core

from .helpers import support

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's files")

V2 = ("/sys/fs/cgroup", "cgroup2", "rw")
V1 = ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
OLD_V1 = ("/sys/fs/cgroup/cpu", "cgroup", "rw,cpu")
HYBRID_V2 = ("/sys/fs/cgroup/unified", "cgroup2", "rw")
V1_LINES = "11:memory:/\n4:cpu,cpuacct:{}\n1:name=systemd:/a/b\n"


def tree(root, groups, mounts, files):
    """`groups`: /proc/self/cgroup; `mounts`: (point, type, options[, top]); `files`: path: text."""
    lines = ["22 1 0:21 / / rw,relatime - ext4 /dev/root rw"]
    for point, kind, options, *top in mounts:
        lines.append(f"31 22 0:28 {top[0] if top else '/'} {point} rw,nosuid shared:9 - "
                     f"{kind} {kind} {options}")  # fmt: skip
    files = {"proc/self/cgroup": groups, "proc/self/mountinfo": "\n".join(lines) + "\n", **files}
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return _core.quota_cpus(str(root))


def v1(folder, quota, period=100000):
    numbers = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}
    return {f"{folder}/{name}": f"{number}\n" for name, number in numbers.items()}


CPU_MAX = "/sys/fs/cgroup/{}cpu.max"


@pytest.mark.parametrize("groups, mounts, files, expected", [
    # version 2: in a namespace of its own, in a group below, the smallest of all levels
    ("0::/\n", [V2], {CPU_MAX.format(""): "150000 100000\n"}, 1.5),
    ("0::/\n", [V2], {CPU_MAX.format(""): "20000 40000\n"}, 0.5),
    ("0::/a/b\n", [V2], {CPU_MAX.format("a/b/"): "300000 100000\n"}, 3.0),
    ("0::/a/b\n", [V2], {CPU_MAX.format("a/b/"): "300000 100000\n",
                         CPU_MAX.format("a/"): "200000 100000\n"}, 2.0),
    ("0::/a/b\n", [V2], {CPU_MAX.format("a/b/"): "100000 100000\n",
                         CPU_MAX.format("a/"): "200000 100000\n"}, 1.0),
    ("0::/a/b\n", [V2], {CPU_MAX.format("a/b/"): "max 100000\n",
                         CPU_MAX.format(""): "700000 100000\n"}, 7.0),
    ("0::/a:b/c d\n", [V2], {CPU_MAX.format("a:b/c d/"): "100000 50000\n"}, 2.0),
    ("0::/c d/e\n", [(*V2, "/c\\040d")], {CPU_MAX.format("e/"): "100000 50000\n"}, 2.0),
    # outside of the namespace's root: nobody's mount shows it
    ("0::/../x\n", [V2], {CPU_MAX.format(""): "100000 100000\n"}, 0.0),
    # a sibling's quota, and one whose name begins alike
    ("0::/a\n", [V2], {CPU_MAX.format("b/"): "100000 100000\n",
                       CPU_MAX.format("ab/"): "100000 100000\n"}, 0.0),
    # the mount shows only the container's group, or only another's
    ("0::/docker/x/sub\n", [(*V2, "/docker/x")], {CPU_MAX.format("sub/"): "400000 100000\n",
                                                  CPU_MAX.format(""): "500000 100000\n"}, 4.0),
    ("0::/docker/x\n", [(*V2, "/docker/x")], {CPU_MAX.format(""): "500000 100000\n"}, 5.0),
    ("0::/docker/xy\n", [(*V2, "/docker/x")], {CPU_MAX.format(""): "500000 100000\n"}, 0.0),
    # version 1, under either name of the mount, and beside a version 2 without the controller
    (V1_LINES.format("/"), [V1], v1(V1[0], 250000), 2.5),
    (V1_LINES.format("/a"), [V1], {**v1(V1[0], -1), **v1(V1[0] + "/a", 30000, 10000)}, 3.0),
    ("4:cpu:/a/b\n0::/\n", [OLD_V1, HYBRID_V2],
     {**v1(OLD_V1[0] + "/a/b", -1), **v1(OLD_V1[0] + "/a", 100000)}, 1.0),
    ("4:cpuset:/\n", [("/sys/fs/cgroup/cpuset", "cgroup", "rw,cpuset")],
     v1("/sys/fs/cgroup/cpuset", 100000), 0.0),
    ("4:cpu:/\n0::/\n", [OLD_V1, HYBRID_V2],
     {**v1(OLD_V1[0], 300000), HYBRID_V2[0] + "/cpu.max": "200000 100000\n"}, 2.0),
    # no quota, no file, no mount, nothing that is understood
    ("0::/\n", [V2], {CPU_MAX.format(""): "max 100000\n"}, 0.0),
    (V1_LINES.format("/"), [V1], v1(V1[0], -1), 0.0),
    ("0::/a\n", [V2], {}, 0.0),
    ("0::/\n", [], {CPU_MAX.format(""): "100000 100000\n"}, 0.0),
    ("", [V2], {CPU_MAX.format(""): "100000 100000\n"}, 0.0),
    ("\x00\xff\n:::\n0:\n0::\n", [V2, ("", "", ""), ("x", "cgroup2", "")], {}, 0.0),
    ("0::no/slash\n", [V2], {CPU_MAX.format(""): "100000 100000\n"}, 0.0),
    *[("0::/\n", [V2], {CPU_MAX.format(""): text}, 0.0)
      for text in ("", "\n", "100000", "100000 0", "-1 100000", "many few", "\x00\xff 1", "0 0")],
    (V1_LINES.format("/"), [V1], v1(V1[0], "", ""), 0.0),
    (V1_LINES.format("/"), [V1], v1(V1[0], 100000, 0), 0.0),
])  # fmt: skip
def test_quota(tmp_path, groups, mounts, files, expected):
    assert tree(tmp_path, groups, mounts, files) == expected


def test_no_files_at_all(tmp_path):
    assert _core.quota_cpus(str(tmp_path)) == 0.0
    assert _core.quota_cpus(str(tmp_path / "absent")) == 0.0


def test_this_process():
    quota = _core.quota_cpus()
    assert quota >= 0
    assert 1 <= _core.available_cpus() <= len(os.sched_getaffinity(0))
    assert not quota or _core.available_cpus() <= max(1, quota)


CHILD = "import bpcore as bp; print(bp._core.quota_cpus(), bp.get_num_threads())"


@pytest.mark.parametrize("quota, expected", [(150000, "1.5 1"), (50000, "0.5 1")])
def test_a_process_under_a_quota_starts_with_fewer_threads(tmp_path, quota, expected):
    """Other files over /sys/fs/cgroup, in a mount namespace of the child's own."""
    if not shutil.which("unshare") or not os.path.isdir("/sys/fs/cgroup"):
        pytest.skip("needs unshare and control groups")
    (tmp_path / "unified").mkdir()
    for folder in (tmp_path, tmp_path / "unified"):
        (folder / "cpu.max").write_text(f"{quota} 100000\n")
    for name in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
        for path, text in v1(name, quota).items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
    mount = f"mount --bind '{tmp_path}' /sys/fs/cgroup"
    private = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("mounts are not permitted here")
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [*private, mount + ' && exec "$@"', "sh", sys.executable, "-c", CHILD],
        cwd=support.ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == expected.split(), done.stderr
