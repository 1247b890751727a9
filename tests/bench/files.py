#!/usr/bin/env python3
"""Moving files, side by side with the programs people use today, in one run, round by round in turns.

    cargo build --release
    python3 tests/bench/files.py [--rounds 3] [--hivenode target/release/hivenode] [--json FILE]
    python3 tests/bench/files.py --cases one,small --peers hivenode,rsync,sendme     # parts of it
    python3 tests/bench/files.py --cases memory                                     # 20 GB, only when asked for

Linux, as root: nodes live in network namespaces and control groups made for each trial and removed after it, so that
nothing can leave the machine and the CPU, memory and bytes of each side are the kernel's own figures. Needs Debian's
rsync, openssh-server, syncthing, iproute2; sendme and iroh-blobs are built from crates.io (some minutes, once, below
$HIVENODE_BENCH_PEERS, by default /tmp/peers), libtorrent comes from PyPI into $HIVENODE_BENCH_VENV (/tmp/bench-venv).
Peers that cannot be had are left out and named.

The clock runs from asking the source to offer a path (hashing, adding, making a torrent included) until the receiver
has all of it under its name. Daemons are up and connected before. Every copy is compared with its source afterwards.
Data and stores lie in --dir (/dev/shm), about 5 GiB at most; --disk (/tmp) is used by `memory` only. Nothing is
asserted: machines are noisy, ratios of one run and CPU seconds are what counts, and `CPU of others` says how quiet it was.

Cases: one (1 GiB), small (10,000 x 16 KiB), fanout (1 to 4), fanin (4 to 1, also each source shaped to a quarter),
kill (kill -9 of the receiver at 1, 10, 50, 99 %), delta (5 % changed in place, 5 % put in front), shaped (one and small
over 100 Mbit/s), memory (20 GB, sparse).
"""
import argparse, json, os, platform, signal, sys, time, traceback
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parent))
import files_cases as cases
import files_report as report
from files_lab import MIB, Failed
from files_ours import Hivenode
from files_peers import RsyncInplace, all_peers

ROOT = Path(__file__).resolve().parents[2]
CASES = ["one", "small", "fanout", "fanin", "kill", "delta", "shaped", "memory"]
KILLED_AT = [1, 10, 50, 99]
KILL_LINK, FANIN_LINK, SLOW_LINK = 1000, 400, 100  # Mbit/s


class Run:
    def __init__(self, args):
        self.args, self.records, self.versions = args, [], {}
        self.data = cases.Data(args.dir)
        self.peers = []
        for peer in [Hivenode(args.hivenode), *all_peers()]:
            if args.peers and not any(w in peer.name for w in args.peers):
                continue
            try:
                self.versions[peer.name] = peer.install()
                self.peers.append(peer)
            except (Failed, OSError) as error:
                self.versions[peer.name] = f"left out: {error}"

    def trial(self, case, peer, call, **more):
        began = time.time()
        record = dict(case=case, peer=peer.name, **more)
        try:
            record["figures"] = call()
            said = f"{record['figures']['wall']:.2f} s"
        except Exception as error:  # one peer's failure must not end the run; it stands in the report
            record["error"] = str(error) or repr(error)
            said = "FAILED: " + record["error"]
            if self.args.verbose:
                traceback.print_exc()
        self.records.append(record)
        print(f"  {case} {more.get('part', '')} {peer.name}: {said} (with all around {time.time() - began:.1f} s)", file=sys.stderr, flush=True)
        if self.args.json:
            self.args.json.write_text(json.dumps(dict(versions=self.versions, machine=machine(), records=self.records), indent=1))
        return record.get("figures")

    def rounds(self, count, peers=None):
        for i in range(count):
            for peer in peers if peers is not None else self.peers:
                yield i, peer

    def one(self):
        path = self.data.file(self.args.size * MIB)
        for i, peer in self.rounds(self.args.rounds):
            self.trial("one", peer, lambda: cases.one_to_one(peer, self.args.dir, path), round=i)

    def small(self):
        path = self.data.folder(self.args.files, 16 * 1024)
        for i, peer in self.rounds(self.args.rounds):
            self.trial("small", peer, lambda: cases.one_to_one(peer, self.args.dir, path), round=i)

    def fanout(self):
        path = self.data.file(self.args.fan_size * MIB)
        for i, peer in self.rounds(self.args.rounds):
            for many in (1, 4):
                self.trial("fanout", peer, lambda: cases.one_to_many(peer, self.args.dir, path, many), round=i, part=str(many))

    def fanin(self):
        path = self.data.file(self.args.fan_size * MIB)
        for i, peer in self.rounds(self.args.rounds, [p for p in self.peers if p.swarm]):
            for part, many, mbit in (("1", 1, None), ("4", 4, None), ("shaped 1", 1, FANIN_LINK), ("shaped", 4, FANIN_LINK)):
                self.trial("fanin", peer, lambda: cases.many_to_one(peer, self.args.dir, path, many, mbit), round=i, part=part)

    def kill(self):
        path = self.data.file(self.args.fan_size * MIB)
        peers = [p for p in self.peers if p.resume]
        if not self.args.peers:
            peers.insert(min(2, len(peers)), RsyncInplace())
        for i, peer in self.rounds(self.args.slow_rounds, peers):
            whole = self.trial("kill whole", peer, lambda: cases.one_to_one(peer, self.args.dir, path, loop=False, mbit=KILL_LINK), round=i)
            for percent in KILLED_AT if whole else []:
                self.trial("kill", peer, lambda: cases.killed(peer, self.args.dir, path, percent, whole["net"]["sink"][0], KILL_LINK), round=i, part=percent)

    def delta(self):
        path = self.data.file(self.args.size * MIB)
        for i, peer in self.rounds(self.args.slow_rounds, [p for p in self.peers if p.delta]):
            for part, change in (("in place", cases.changed_in_place), ("inserted", cases.inserted_in_front)):
                self.trial("delta", peer, lambda: cases.second_version(peer, self.args.dir, path, change), round=i, part=part)

    def shaped(self):
        big, many = self.data.file(self.args.shaped_size * MIB), self.data.folder(self.args.files, 16 * 1024)
        for i, peer in self.rounds(self.args.slow_rounds):
            for case, path in (("shaped one", big), ("shaped small", many)):
                self.trial(case, peer, lambda: cases.one_to_one(peer, self.args.dir, path, loop=False, mbit=SLOW_LINK), round=i)

    def memory(self):
        for i, peer in self.rounds(1, [p for p in self.peers if p.name in ("hivenode", "rsync daemon")]):
            self.trial("memory", peer, lambda: cases.memory(peer, self.args.disk, self.args.huge * 10**9, self.args.size * MIB), round=i)

    def print(self):
        print(f"# Files, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC\n\n{machine()}\n")
        print(report.table(["tool", "version", "encrypted", "verified"], [
            [name, version, *next(((p.encrypted, p.verified) for p in self.peers if p.name == name), ("", ""))] for name, version in self.versions.items()]))
        a = self.args
        small = a.files * 16 * 1024
        vs_big = [("against sendme", "sendme", 0.5, None), ("against the library", "iroh-blobs library", 0.5, None),
                   ("against scp", "scp aes128-gcm", 1.1, None), ("against rsync daemon", "rsync daemon", None, 1.0)]
        vs_small = [("against sendme", "sendme", 0.25, None), ("against rsync daemon", "rsync daemon", None, 1.0)]
        # The line is the limit there: nobody can halve another's time.
        vs_slow = [("against scp", "scp aes128-gcm", 1.1, None), ("against sendme", "sendme", 1.0, None), ("against rsync daemon", "rsync daemon", None, 1.0)]
        parts = {
            "one": (f"{a.size} MiB one to one, loopback", lambda: report.one_or_small(self.records, "one", a.size * MIB, vs_big)),
            "small": (f"{a.files:,} files x 16 KiB, loopback", lambda: report.one_or_small(self.records, "small", small, vs_small)),
            "fanout": (f"1 → 4 receivers, {a.fan_size} MiB", lambda: report.fanout(self.records, a.fan_size * MIB, 4)),
            "fanin": (f"4 → 1, {a.fan_size} MiB", lambda: report.fanin(self.records, a.fan_size * MIB, 4, FANIN_LINK)),
            "kill": (f"kill -9 of the receiver, {a.fan_size} MiB over {KILL_LINK} Mbit/s", lambda: report.kill(self.records, a.fan_size * MIB, 4)),
            "delta": (f"a second version, {a.size} MiB", lambda: report.delta(self.records, a.size * MIB)),
            "shaped one": (f"{a.shaped_size} MiB over {SLOW_LINK} Mbit/s", lambda: report.one_or_small(self.records, "shaped one", a.shaped_size * MIB, vs_slow, SLOW_LINK)),
            "shaped small": (f"{a.files:,} files x 16 KiB over {SLOW_LINK} Mbit/s", lambda: report.one_or_small(self.records, "shaped small", small, vs_slow, SLOW_LINK)),
            "memory": (f"memory at {a.huge} GB (sparse, {a.size} MiB of noise in it)", lambda: report.memory(self.records)),
        }
        for case, (title, show) in parts.items():
            if case.split()[0] in a.cases:
                print(f"\n## {title}\n")
                show()
                print("\n".join(["", *report.failures(self.records, case)]).rstrip())


def machine():
    model = next((l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 2**20
    return f"{os.cpu_count()} cores of {model}, {memory} GiB, Linux {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    words = lambda text: text.split(",")
    parser.add_argument("--hivenode", type=Path, default=Path(target) / "release/hivenode")
    parser.add_argument("--cases", type=words, default=CASES[:-1], help="of " + ",".join(CASES))
    parser.add_argument("--peers", type=words, help="parts of names, such as hivenode,rsync,sendme; all when not said")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of kill, delta and shaped")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--fan-size", type=int, default=512, help="MiB in fanout, fanin and kill")
    parser.add_argument("--shaped-size", type=int, default=256, help="MiB over the slow link")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--huge", type=int, default=20, help="GB of the sparse file")
    parser.add_argument("--dir", default="/dev/shm", help="where data and stores lie; a tmpfs leaves the disk out of it")
    parser.add_argument("--disk", default="/tmp", help="where the sparse file lies")
    parser.add_argument("--json", type=Path, help="all figures, written after each trial")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}")
    if os.geteuid() != 0:
        raise SystemExit("run it as root: it makes network namespaces and control groups")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it: namespaces and data are put away
    run = Run(args)
    try:
        for case in args.cases:
            print(case, file=sys.stderr, flush=True)
            getattr(run, case)()
    except KeyboardInterrupt:
        print("stopped early: what follows is of the trials that ended", file=sys.stderr)
    finally:
        run.data.close()
    run.print()


main()
