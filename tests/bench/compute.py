#!/usr/bin/env python3
"""Figures of task throughput and latency, side by side with Ray, on loopback, in one run.

    cargo build --release && cargo bench -p hivenode -p hive-executor --bench bare_pool --no-run
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -r tests/bench/requirements.txt
    /tmp/venv/bin/python tests/bench/compute.py [--rounds 3] [--bin target/release/hivenode] [--json FILE] [--pool PATH]

A mesh of separate processes (one authority, two workers of one core each, one client) and a Ray of two
one-core workers take turns, round by round; medians are printed as a Markdown table. Nothing is asserted:
machines are noisy, ratios of one run are what counts. `--pool` is the program that the second command has built (cargo
names it); without it the row of the batch says so. A cold try needs a module of its own: 20 in each round.
"""
import argparse, http.client, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOOP = ROOT / "docs/examples/noop/noop.wasm"
SPIN = ROOT / "docs/examples/noop/spin.wasm"


class Mesh:
    """One authority, two workers, one client, each a process with a folder of its own."""

    def __init__(self, binary):
        self.bin = str(binary)
        self.home = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))
        self.cli("authority", "serve-start", name="authority")
        self.run("authority", "mesh", "create", "bench", "--no-worker")
        for who in ("w1", "w2"):
            self.join(who, "worker", "0")
        self.join("client", "client", "1000")

    def cli(self, who, _what, name):
        args = ["--name", name] + (["--cpus", "1"] if name.startswith("w") else [])
        log = open(self.home / f"{who}.log", "w")
        child = subprocess.Popen(
            [self.bin, "--data", str(self.home / who), "serve", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
             "--listen", "/ip4/127.0.0.1/tcp/0", *args],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children = getattr(self, "children", {})
        self.children[who] = child
        end = time.time() + 20
        while time.time() < end:
            if subprocess.run([self.bin, "--data", str(self.home / who), "-q", "status"], capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise SystemExit(f"{who} did not start: see {log.name}")

    def join(self, who, role, grant):
        self.cli(who, "serve-start", name=who)
        ticket = self.run("authority", "-q", "invite", "--role", role, "--grant", grant).strip()
        self.run(who, "up", ticket)

    def run(self, who, *args, check=True):
        done = subprocess.run([self.bin, "--data", str(self.home / who), *args], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise SystemExit(f"{' '.join(args)}: {done.stderr}")
        return done.stdout

    def memory_mib(self, who):
        """Resident memory of the daemon and all its children, in MiB."""
        pids, total = [self.children[who].pid], 0
        while pids:
            pid = pids.pop()
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                pids += [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                total += pages * os.sysconf("SC_PAGE_SIZE")
            except OSError:
                pass
        return total / 2**20

    def bench(self, tasks, tries):
        text = self.run("client", "--json", "bench", "--tasks", str(tasks), "--tries", str(tries))
        return json.loads(text)["bench"]

    def cold(self, n):
        """Peers connected, no lease, a module no worker has seen: from the command to its result."""
        times = []
        for i in range(n):
            module = self.home / f"cold-{i}-{os.getpid()}.wasm"
            # A custom section makes it another module of the same meaning.
            name = b"c%d-%d" % (i, time.time_ns())
            body = bytes([len(name)]) + name
            module.write_bytes(NOOP.read_bytes() + b"\0" + bytes([len(body)]) + body)
            began = time.perf_counter()
            self.run("client", "-q", "task", "submit", str(module), "--wait")
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    def first_tile(self):
        """From the start of the built binary to the first tile of a small demo, in ms, as the demo itself says."""
        picture = self.home / "demo.png"
        args = [self.bin, "--json", "demo", "--size", "160x90", "--samples", "4", "--out", str(picture)]
        done = subprocess.run(args, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"demo: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])["demo"]["first_tile_ms"]

    def call(self, method, path, body=None):
        """One call of the client daemon's local API."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.home / "client" / "api.sock"))
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {document}")
        return document

    def batch(self, tasks, rounds):
        """Seconds for one job of `tasks` tasks of about 50 ms of work each, from its submission to its end."""
        body = {"name": "batch", "module": {"path": str(SPIN)}, "tasks": [{"args": [str(rounds)]}] * tasks}
        began = time.perf_counter()
        job = self.call("POST", "/v1/jobs", body)["job"]["job"]
        done = self.call("GET", f"/v1/jobs/{job}?wait=true")["job"]
        seconds = time.perf_counter() - began
        if done["succeeded"] != tasks:
            raise SystemExit(f"batch: {done}")
        return seconds

    def stop(self):
        for child in reversed(list(self.children.values())):
            child.send_signal(signal.SIGTERM)
        for child in self.children.values():
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
        shutil.rmtree(self.home, ignore_errors=True)


def ray_round(tasks, tries):
    """In a process of its own, so that a round leaves nothing behind."""
    program = f"""
import ray, time, json, statistics
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
@ray.remote(num_cpus=1)
def noop(): return None
ray.get([noop.remote() for _ in range(200)])
times = []
for _ in range({tries}):
    t = time.perf_counter(); ray.get(noop.remote()); times.append(time.perf_counter() - t)
t = time.perf_counter(); ray.get([noop.remote() for _ in range({tasks})]); s = time.perf_counter() - t
times.sort()
print("FIGURES " + json.dumps(dict(tasks_per_second={tasks}/s, p50_us=times[len(times)//2]*1e6, p99_us=times[len(times)*99//100]*1e6)))
"""
    env = dict(os.environ, RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    line = next((l for l in done.stdout.splitlines() if l.startswith("FIGURES ")), None)
    if line is None:
        raise SystemExit("ray: " + done.stderr[-2000:])
    return json.loads(line[len("FIGURES "):])


def main():
    parser = argparse.ArgumentParser()
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    parser.add_argument("--bin", default=Path(target) / "release/hivenode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=60, help="seconds before an idle worker's memory is read")
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--pool", type=Path, help="the built bench `bare_pool` of hive-executor")
    parser.add_argument("--spin", type=int, default=65, help="rounds of spin.wasm that make about 50 ms")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    ours, rays, colds, tiles, batches, pools = [], [], [], [], [], []
    mesh = Mesh(args.bin)
    try:
        time.sleep(args.idle)
        memory = mesh.memory_mib("w1")
        for _ in range(args.rounds):
            ours.append(mesh.bench(args.tasks, args.tries))
            colds.append(mesh.cold(20))
            tiles += [mesh.first_tile() for _ in range(3)]
            if args.pool:
                mesh.batch(4, args.spin)  # the module is compiled on both workers then
                batches.append(mesh.batch(200, args.spin))
                pools.append(float(subprocess.run([args.pool, SPIN, "200", "2", str(args.spin)], capture_output=True, text=True).stdout))
            if not args.no_ray:
                rays.append(ray_round(args.tasks, args.tries))
    finally:
        mesh.stop()
    mid = lambda rows, key: statistics.median(r[key] for r in rows) if rows else float("nan")
    rows = [
        ("no-op tasks a second", mid(ours, "tasks_per_second"), mid(rays, "tasks_per_second"), "{:,.0f}"),
        ("one task, warm, p50, ms", mid(ours, "p50_us") / 1000, mid(rays, "p50_us") / 1000, "{:.2f}"),
        ("one task, warm, p99, ms", mid(ours, "p99_us") / 1000, mid(rays, "p99_us") / 1000, "{:.2f}"),
        ("one task, cold, p50, ms (CLI process included)", statistics.median(colds), float("nan"), "{:.1f}"),
        (f"idle worker after {args.idle} s, all processes, MiB", memory, float("nan"), "{:.1f}"),
    ]
    rows.append((f"first tile of the demo, ms (median of {len(tiles)}; {min(tiles)}-{max(tiles)})", statistics.median(tiles), float("nan"), "{:.0f}"))
    if not pools:
        print("the batch against a bare pool was not measured: no --pool", file=sys.stderr)
    else:
        share = statistics.median(p / b for p, b in zip(pools, batches))
        rows.append((f"200 tasks of {statistics.median(pools) * 10:.0f} ms, share of a bare two-thread pool", share * 100, float("nan"), "{:.1f} %"))
    print(f"medians of {args.rounds} rounds\n\n| figure | hivenode | Ray | ratio |\n|---|---|---|---|")
    for what, us, them, form in rows:
        known = them == them
        ratio = f"{us / them:.2f}" if known else ""
        print(f"| {what} | {form.format(us)} | {form.format(them) if known else '–'} | {ratio} |")
    if args.json:
        args.json.write_text(json.dumps(dict(ours=ours, ray=rays, cold_ms=colds, first_tile_ms=tiles, idle_mib=memory, batch_s=batches, pool_s=pools), indent=1))


if __name__ == "__main__":
    main()
