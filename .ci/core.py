"""The core and its tests alone, as a crate of their own in target/core: built in a fraction of the
time, for what starts processes and browsers would take long and say nothing about the core.
"""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target" / "core"
TREE = PLACE / "tree"

CORE = ["app", "domain", "metrics", "outbox", "signing", "store", "text"]
MODULES = ["dice", "faults", "flags", "house", "lanes", "limits", "sign_in", "simulation"]
LIBRARY = "#![allow(dead_code, unused)]\n" + "".join(f"pub mod {name};\n" for name in CORE)
TESTS = "#![allow(dead_code, unused)]\n" + "".join(
    f'#[path = "../it/{name}{"/mod" if name == "simulation" else ""}.rs"]\nmod {name};\n' for name in MODULES
) + """mod outside {
    pub fn has(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|piece| piece == part)
    }
}
"""


def take_over_dependencies():
    """What is built of the dependencies already is not built again. Whoever else wants the folder waits
    until this process ends."""
    global lock
    PLACE.mkdir(parents=True, exist_ok=True)
    lock = open(PLACE / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    built, place = ROOT / "target/debug", PLACE / "target/debug"
    if place.exists() or not built.exists():
        return
    for folder in ["build", "deps", ".fingerprint"]:
        if (built / folder).exists():
            leave = shutil.ignore_patterns("*portero*", "it-*")
            shutil.copytree(built / folder, place / folder, copy_function=os.link, ignore=leave)


def copy_sources():
    """The crate as the sources are now. Its tests are one target, `quick`."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    shutil.rmtree(TREE, ignore_errors=True)
    for name in files:
        if (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            # With its time: what is built of a file that did not change is used again.
            shutil.copy2(ROOT / name, TREE / name)
    (TREE / "src/core.rs").write_text(LIBRARY)
    (TREE / "tests/quick").mkdir()
    (TREE / "tests/quick/main.rs").write_text(TESTS)
    manifest = (TREE / "Cargo.toml").read_text()
    # Neither the program nor the other tests and benchmarks.
    manifest = re.sub(r'\[\[(?:bin|test|bench)\]\][^\[]*', "", manifest)
    manifest = re.sub(r'(\[lib\]\nname = "portero")', r'\1\npath = "src/core.rs"', manifest)
    manifest = manifest.replace('default-run = "portero"\n', "autobins = false\nautotests = false\n")
    manifest += '\n[[test]]\nname = "quick"\npath = "tests/quick/main.rs"\n'
    (TREE / "Cargo.toml").write_text(manifest)


def environment(**settings):
    return os.environ | {"CARGO_TARGET_DIR": str(PLACE / "target")} | settings
