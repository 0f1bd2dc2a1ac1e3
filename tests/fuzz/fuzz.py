#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the fuzz targets. Needs clang with libFuzzer; see README.md."""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import campaign

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORE = ROOT / "csrc" / "core"
CORPUS = HERE / "corpus"  # one archive of inputs for each target
TARGETS = sorted(path.stem[len("fuzz_") :] for path in HERE.glob("fuzz_*.c"))
CORE_TARGETS = [target for target in TARGETS if target != "glue"]
SHARED = ("harness", "prove", "use", "archive", "same")
SANITIZERS = {
    "address": "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer",
    "memory": "-fsanitize=memory -fno-sanitize-recover=all -fno-omit-frame-pointer",
}
WRAPPED_FOR_MEMORY = (
    *("zip_error_init", "zip_error_set", "zip_error_strerror", "zip_stat_init", "zip_stat_index"),
    *("zip_fread", "zip_source_function_create", "zip_open_from_source", "zip_fopen_index"),
)
# What one input of a few KiB may cost. The sanitizers' own memory comes on top of the core's.
LIMITS = ["-timeout=1", "-rss_limit_mb=1024", "-malloc_limit_mb=80"]
# Python's own memory is the larger part there, and it keeps some of it until it exits.
GLUE_LIMITS = ["-timeout=10", "-rss_limit_mb=3000", "-detect_leaks=0"]
SLICE = 60  # seconds
LENGTHS = {"file": 16384, "salvage": 16384, "zip_index": 8192, "tar": 16384}


def clang():
    found = os.environ.get("FUZZ_CC") or shutil.which("clang")
    if found is None:
        sys.exit("fuzz.py: there is no clang; Debian and Ubuntu have it in the package clang")
    return found


def limits_of(target):
    return GLUE_LIMITS if target == "glue" else LIMITS


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


# --- building -----------------------------------------------------------------------------------


def build(sanitizer, out, targets=CORE_TARGETS):
    """The targets, as out/NAME."""
    out.mkdir(parents=True, exist_ok=True)
    flags = f"-std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -pthread {SANITIZERS[sanitizer]}"
    flags = [*flags.split(), "-fsanitize=fuzzer-no-link", "-iquote", CORE, "-iquote", HERE]
    sources = [*sorted(CORE.glob("*.c")), *(HERE / f"{name}.c" for name in SHARED)]
    if sanitizer == "memory":
        sources.append(HERE / "msan_libraries.c")
    mains = [HERE / f"fuzz_{target}.c" for target in targets]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_compile, source, out, flags) for source in [*sources, *mains]]
        objects = [job.result() for job in jobs]
        shared = objects[: len(sources)]
        linked = [
            pool.submit(_link, sanitizer, shared, main, out / target)
            for main, target in zip(objects[len(sources) :], targets, strict=True)
        ]
        for job in linked:
            job.result()


def _compile(source, out, flags):
    made = out / f"{source.stem}.o"
    run(clang(), *flags, "-c", source, "-o", made)
    return made


def _link(sanitizer, shared, main, program):
    flags = SANITIZERS[sanitizer].split() + ["-fsanitize=fuzzer", "-Wl,--wrap=getentropy"]
    if sanitizer == "memory":
        flags += [f"-Wl,--wrap={name}" for name in WRAPPED_FOR_MEMORY]
    run(clang(), *flags, *shared, main, "-lzip", "-lz", "-ldeflate", "-lpthread", "-o", program)


# --- inputs -------------------------------------------------------------------------------------


def dictionary(path):
    """Opcodes, allowed names and signatures, from the core's own tables."""
    opcodes = re.findall(r"^OPCODE\((0x..)", (CORE / "opcodes.def").read_text(), re.M)
    names = re.findall(r'^GLOBAL\("(.*?)", "(.*?)"', (CORE / "globals.def").read_text(), re.M)
    words = {bytes([int(code, 16)]) for code in opcodes}
    words |= {f"c{module}\n{name}\n".encode() for module, name in names}
    words |= {bytes([0x8C, len(part)]) + part.encode() for pair in names for part in pair}
    words |= {b"PK" + bytes(pair) for pair in ((1, 2), (3, 4), (5, 6), (6, 6), (6, 7), (7, 8))}
    words |= {(1 << bits).to_bytes(8, "little") for bits in (15, 16, 31, 32, 62, 63)}
    words |= set(b"storage cpu data.pkl data/ byteorder little big version".split())
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in sorted(words))
    path.write_text("".join(f'"{line}"\n' for line in lines))


def unpack(target, folder):
    """The committed inputs of a target, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = CORPUS / f"{target}.zip"
    if stored.exists():
        with zipfile.ZipFile(stored) as archive:
            for name in archive.namelist():
                (folder / Path(name).name).write_bytes(archive.read(name))


def pack(target, folder):
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(
        CORPUS / f"{target}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
    ) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(
                zipfile.ZipInfo(path.name, (1980, 1, 1, 0, 0, 0)),
                path.read_bytes(),
                zipfile.ZIP_DEFLATED,
            )


# --- running ------------------------------------------------------------------------------------


def environment():
    return {
        **os.environ,
        "ASAN_OPTIONS": "quarantine_size_mb=1:malloc_context_size=2:detect_leaks=1:handle_abort=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "MSAN_OPTIONS": "handle_abort=1",
    }


def fuzz(target, program, work, seconds):
    """Fuzzes for so long; returns (executions, edges, failures)."""
    corpus, findings = work / "corpus" / target, work / "findings" / target
    findings.mkdir(parents=True, exist_ok=True)
    if not corpus.exists():
        unpack(target, corpus)
    dictionary(work / "dictionary")
    before = set(findings.iterdir())
    command = [program, corpus, f"-artifact_prefix={findings}/", f"-dict={work / 'dictionary'}"]
    command += [
        *limits_of(target),
        f"-max_len={LENGTHS.get(target, 4096)}",
        f"-max_total_time={seconds}",
    ]
    command += ["-print_final_stats=1", "-entropic=0"]
    done = subprocess.run(
        [str(part) for part in command], stderr=subprocess.PIPE, env=environment()
    )
    text = done.stderr.decode(errors="replace")
    executions = re.findall(r"stat::number_of_executed_units: +(\d+)", text)
    edges = re.findall(r"cov: (\d+)", text)
    new = sorted(set(findings.iterdir()) - before)
    if done.returncode != 0 or new:
        print(text[-6000:], file=sys.stderr)
        print("fuzz.py: failing inputs:", *new or ["none was kept"], file=sys.stderr)
    count = int(executions[-1]) if executions else 0
    return count, int(edges[-1]) if edges else 0, max(len(new), int(done.returncode != 0))


def replay(target, program, work):
    """Every committed input once. Returns whether all was well."""
    folder = work / "replay" / target
    unpack(target, folder)
    inputs = sorted(folder.iterdir())
    if not inputs:
        print(f"{target}: no inputs are stored")
        return False
    done = subprocess.run(
        [str(program), *limits_of(target), "-timeout=10", "-runs=0", str(folder)],
        stderr=subprocess.PIPE,
        env=environment(),
    )
    print(f"{target}: {len(inputs)} stored inputs, {'fine' if done.returncode == 0 else 'FAILED'}")
    if done.returncode != 0:
        print(done.stderr.decode(errors="replace")[-6000:], file=sys.stderr)
    return done.returncode == 0


# --- commands -----------------------------------------------------------------------------------


def build_all(arguments, sanitizer, targets):
    """Builds those of the targets that are not there yet; returns the folder."""
    folder = arguments.work / sanitizer
    wanted = [target for target in targets if arguments.rebuild or not (folder / target).exists()]
    core = [target for target in wanted if target != "glue"]
    if core:
        build(sanitizer, folder, core)
    if "glue" in wanted:
        run(HERE / "build_glue.sh", folder, env={**os.environ, "PYTHON": sys.executable})
    return folder


def targets_of(sanitizer):
    """Python is not built with MemorySanitizer."""
    return TARGETS if sanitizer == "address" else CORE_TARGETS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fuzz", help="where all goes")
    parser.add_argument("--sanitizer", choices=["address", "memory"], default="address")
    parser.add_argument("--rebuild", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="fuzz one target, or all in turn")
    one.add_argument("target", choices=[*TARGETS, "all"])
    one.add_argument("seconds", type=int)
    one.add_argument("--log", action="store_true", help="add the counts to campaign.tsv")
    long = commands.add_parser("campaign", help="fuzz what is furthest behind, in turn, and log it")
    long.add_argument("minutes", type=float)
    commands.add_parser("build", help="build all targets")
    commands.add_parser("replay", help="run every stored input once")
    commands.add_parser("totals", help="what the campaign's log adds up to")
    commands.add_parser("store", help="reduce the inputs found so far and store them")
    arguments = parser.parse_args()
    sys.exit(globals()[f"do_{arguments.command}"](arguments))


def do_build(arguments):
    build_all(arguments, arguments.sanitizer, targets_of(arguments.sanitizer))


def do_run(arguments):
    every = targets_of(arguments.sanitizer)
    targets = every if arguments.target == "all" else [arguments.target]
    folder = build_all(arguments, arguments.sanitizer, targets)
    failures = 0
    for target in targets:
        found = fuzz(target, folder / target, arguments.work, arguments.seconds)
        print(
            f"{target}: {found[0]:,} executions, {found[1]} edges, {found[2]} failures", flush=True
        )
        if arguments.log:
            campaign.note(target, arguments.sanitizer, arguments.seconds, *found)
        failures += found[2]
    return failures > 0


def do_campaign(arguments):
    """Every fourth slice is one with MemorySanitizer, where there is such a build. A target that
    has failed is left alone."""
    end = time.monotonic() + 60 * arguments.minutes
    turn, failing = 0, set()
    while time.monotonic() < end and failing != set(TARGETS):
        turn += 1
        target = campaign.furthest_behind(failing)
        sanitizer = "memory" if turn % 4 == 0 and target != "glue" else "address"
        folder = build_all(arguments, sanitizer, [target])
        found = fuzz(target, folder / target, arguments.work, SLICE)
        campaign.note(target, sanitizer, SLICE, *found)
        print(f"{target}, {sanitizer}: {found[0]:,} executions, {found[2]} failures", flush=True)
        if found[2]:
            failing.add(target)  # it would fail again
    return len(failing)


def do_replay(arguments):
    targets = targets_of(arguments.sanitizer)
    folder = build_all(arguments, arguments.sanitizer, targets)
    fine = [replay(target, folder / target, arguments.work) for target in targets]
    return not all(fine)


def do_totals(_):
    print(campaign.table())


def do_store(arguments):
    found, reduced = arguments.work / "corpus", arguments.work / "reduced"
    shutil.rmtree(reduced, ignore_errors=True)
    folder = build_all(arguments, "address", TARGETS)
    for target in TARGETS:
        if not (found / target).exists():
            continue
        (reduced / target).mkdir(parents=True)
        command = [
            folder / target,
            "-merge=1",
            *limits_of(target),
            reduced / target,
            found / target,
        ]
        run(*command, env=environment(), stderr=subprocess.DEVNULL)
        pack(target, reduced / target)
        before, after = (len(list((kind / target).iterdir())) for kind in (found, reduced))
        print(f"{target}: {before} inputs, {after} stored")


if __name__ == "__main__":
    main()
