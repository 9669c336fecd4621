"""The doctor: says of this machine what is so, and of one that lacks something the sentence that mends it."""

import json
from pathlib import Path

import pytest

from offwake.recorder.doctor import lockdown
from offwake.recorder.host import machine_checks
from tests.live.harness import offwake
from tests.live.test_refusals import WITHOUT_BCC, WITHOUT_ROOT

AS_ON_I686 = ("setarch", "i686")
IN_A_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
IN_A_TIME_NAMESPACE = ("unshare", "--time", "--monotonic", "86400", "--fork")
WITHOUT_BPF = ("setpriv", "--bounding-set=-sys_admin,-bpf")
WITHOUT_LOCKED_MEMORY = ("prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock")
IN_A_USER_NAMESPACE = ("unshare", "--user", "--map-root-user")


def test_a_machine_that_can_record() -> None:
    result = offwake("doctor")
    assert result.returncode == 0, result.stdout
    *checks, verdict = result.stdout.splitlines()
    assert verdict == "This machine can record."
    assert {line.split()[0] for line in checks} <= {"ok", "limited"}
    names = [check["name"] for check in json.loads(offwake("doctor", "--json").stdout)["checks"]]
    assert {"architecture", "root", "pid namespace", "btf", "bcc", "bpf", "rings", "sources", "user stacks"} <= {*names}
    assert len(names) == len(checks)


@pytest.mark.parametrize(
    ("under", "name", "says"),
    [
        (AS_ON_I686, "architecture", "recording works on x86_64, not on i686: "),
        (WITHOUT_ROOT, "root", "recording needs root; run it with sudo"),
        (IN_A_PID_NAMESPACE, "pid namespace", "run offwake on the host, or in a container started with --pid=host"),
        (IN_A_TIME_NAMESPACE, "time namespace", "run offwake on the host"),
        (WITHOUT_BCC, "bcc", "apt-get install python3-bpfcc"),
        (WITHOUT_BPF, "capabilities", "recording needs CAP_BPF; run offwake on the host, or in a privileged container"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_missing_is_named_with_what_mends_it_as_the_recorder_does(
    under: tuple[str, ...], name: str, says: str, tmp_path: Path
) -> None:
    result = offwake("doctor", "--json", under=under)
    assert result.returncode == 1
    document = json.loads(result.stdout)
    assert not document["can_record"]
    [missing] = [check for check in document["checks"] if check["verdict"] == "missing"]
    sentence = "; ".join(part for part in (missing["says"], missing["mend"]) if part)
    assert missing["name"] == name and says in sentence
    refused = offwake("record", "-o", tmp_path / "x.offwake", "--duration", "1", under=under)
    assert refused.returncode == 1
    assert refused.stderr == f"offwake: {sentence}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("under", "names"), [(WITHOUT_LOCKED_MEMORY, {"rings"}), (IN_A_USER_NAMESPACE, {"bpf", "rings", "sources"})]
)
def test_what_only_the_kernel_knows_is_tried(under: tuple[str, ...], names: set[str]) -> None:
    document = json.loads(offwake("doctor", "--json", under=under).stdout)
    assert {check["name"] for check in document["checks"] if check["verdict"] == "missing"} == names


def test_a_kernel_that_is_locked_down_is_told_by_what_it_says_itself(tmp_path: Path) -> None:
    file = tmp_path / "lockdown"
    file.write_text("none integrity [confidentiality]\n")
    assert lockdown(file).verdict == machine_checks.MISSING
    file.write_text("none [integrity] confidentiality\n")
    assert lockdown(file) == machine_checks.Check("lockdown", machine_checks.OK, "integrity")
