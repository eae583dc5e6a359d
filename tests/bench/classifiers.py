"""How fast bouncepoll reads reports, beside its peers, on the same mails, one process each, one after the other.

usage: classifiers.py [--seconds S] [--compiled PACKAGE] [FOLDER]; the folder's labels.jsonl, where it has one, picks the
reports out. PACKAGE: the folder with the compiled modules (tests/compiled/build.sh), which then stand for bouncepoll.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEFAULT_FOLDERS = (ROOT.parent / "shared" / "corpus" / "dev", ROOT / "tests" / "corpus")
REPORT_KINDS = {"bounce", "delayed", "complaint", "success"}
ROUNDS = 3


def reports(folder: Path) -> list[str]:
    """Return the paths of the reports in a folder: those labelled as such, or every mail where there are no labels."""
    labels = folder / "labels.jsonl"
    if labels.is_file():
        entries = map(json.loads, labels.read_text(encoding="utf-8").splitlines())
        return [str(folder / entry["file"]) for entry in entries if entry["kind"] in REPORT_KINDS]
    return sorted(str(path) for path in folder.rglob("*.eml"))


def environment(package: Path | None) -> dict[str, str]:
    """Return the environment in which the modules of ``package`` are used instead of the sources."""
    if package is None:
        return dict(os.environ)
    return os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{package.resolve()}:{ROOT}"}


def rate(command: list[str], paths: list[str], package: Path | None = None) -> tuple[float, int]:
    """Return mails a second and findings of one reader."""
    done = subprocess.run(
        command,
        input="\n".join(paths) + "\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=600,
        env=environment(package),
    )
    mails, seconds, found = done.stdout.split()[-3:]
    return int(mails) / float(seconds), int(found)


def pair_rate(command: list[str], paths: list[str], package: Path | None) -> float:
    """Return mails a second of two processes at the same time."""
    env = environment(package)
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
        for _ in range(2)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n".join(paths) + "\n")
        process.stdin.close()
    total = 0.0
    for process in running:
        assert process.stdout is not None
        mails, seconds, _found = process.stdout.read().split()[-3:]
        process.wait()
        total += int(mails) / float(seconds)
    return total


def main() -> int:
    """Run all readers in rounds, the best round of each counts; print rates and ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", nargs="?", type=Path)
    arguments.add_argument("--seconds", type=float, default=4.0)
    arguments.add_argument("--compiled", type=Path)
    options = arguments.parse_args()
    folder = options.folder or next(path for path in DEFAULT_FOLDERS if path.is_dir())
    paths = reports(folder)
    seconds = str(options.seconds)
    worker = [sys.executable, "-m", "tests.bench.worker"]
    readers = {
        "bouncepoll": [*worker, "bouncepoll", seconds],
        "not compiled": [*worker, "bouncepoll", seconds],
        "keeping no answers": [*worker, "forgetful", seconds],
        "Sisimai (Perl)": ["perl", str(HERE / "sisimai.pl"), seconds],
        "flufl.bounce": [*worker, "flufl", seconds],
        "flanker": [*worker, "flanker", seconds],
    }
    best: dict[str, tuple[float, int]] = {}
    for _ in range(ROUNDS):
        for name, command in readers.items():
            package = None if name == "not compiled" else options.compiled
            best[name] = max(best.get(name, (0.0, 0)), rate(command, paths, package))
    pair = max(pair_rate(readers["bouncepoll"], paths, options.compiled) for _ in range(ROUNDS))
    ours = best["bouncepoll"][0]
    print(f"{len(paths)} reports; mails a second, one process, best of {ROUNDS}")
    for name, (mails, found) in best.items():
        print(f"{name:20} {mails:10.0f}   findings {found:5}   bouncepoll is {ours / mails:5.2f} x")
    perl = best["Sisimai (Perl)"][0]
    print(f"{'bouncepoll, 2 proc.':20} {pair:10.0f}   {pair / perl:5.2f} x Sisimai (Perl) in one process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
