"""One file over a direct path on a long line, against a plain TCP stream through the same cables in the same run.

    cargo build --release -p hivenode -p netsim
    python3 tests/bench/wan.py PROGRAMS --loss 0.25% --rate 100mbit --over mesh-quic

Needs root, ip, nft. PROGRAMS is the folder of hivenode and netsim. Two public hosts, each with a cable of its own: half of
the delay each way (and all of the loss and rate named) is each cable's. `--over`: `bulk` as shipped (TCP and TLS of its
own), `mesh-quic` and `mesh-tcp` with everything else between the two dropped. `--cubic` measures a plain stream with
CUBIC as well, whatever the machine's own congestion control is.
"""
import argparse, http.client, json, os, shutil, socket, statistics, subprocess, sys, tempfile, time

GIVER, TAKER, PORT = "203.0.113.2", "203.0.113.3", 5001
SERVE = """
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", {port})); s.listen(5)
some = b"x" * (1 << 20)
while True:
    c, _ = s.accept()
    how = c.recv(8).strip(b".")
    if how != b"own": c.setsockopt(socket.IPPROTO_TCP, 13, how)
    try:
        for _ in range({mib}): c.sendall(some)
    except OSError: pass
    c.close()
"""
TAKE = """
import socket, time
begun = time.time(); s = socket.create_connection(("{giver}", {port})); s.sendall(b"{how}"); got = 0
while some := s.recv(1 << 18): got += len(some)
assert got == {mib} << 20, got
print(time.time() - begun)
"""


class Daemon:
    def __init__(self, run, name, host, **settings):
        self.name, self.dir = name, f"{run.home}/{name}"
        os.makedirs(self.dir)
        env = {k: v for k, v in os.environ.items() if not k.startswith("HIVENODE_")}
        env.update({f"HIVENODE_{k.upper()}": v for k, v in settings.items()}, HIVENODE_NAME=name, HIVENODE_UPNP="off")
        command = [run.programs + "/hivenode", "--data", self.dir, "serve", "--attached", "--log-file", self.dir + "/log"]
        self.process = subprocess.Popen(run.inside(host) + command, env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process.stdout.readline()

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("localhost", timeout=600)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(self.dir + "/api.sock")
        c.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        answer = c.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{self.name} {path}: {said[:300]}")
        return json.loads(said)


class Run:
    def __init__(self, args):
        self.args, self.programs = args, os.path.abspath(args.programs)
        self.home, self.name = tempfile.mkdtemp(), f"wan{os.getpid()}"
        self.processes = []
        cable = f"delay={args.delay}"
        cable += f" loss={args.loss}" if args.loss else ""
        cable += f" rate={args.rate}" if args.rate else ""
        with open(self.home + "/plan", "w") as f:
            f.write(f"net wan 203.0.113.0/24\nhost relay wan\nhost a wan {cable}\nhost b wan {cable}\n")
        up = [self.programs + "/netsim", "nat", "up", self.home + "/plan", "--name", self.name]
        self.lab = subprocess.Popen(up, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while "ip netns exec" not in self.lab.stdout.readline():
            assert self.lab.poll() is None, "no laboratory"

    def inside(self, host):
        return ["ip", "netns", "exec", f"{self.name}-{host}"]

    def start(self, name, host, **settings):
        daemon = Daemon(self, name, host, **settings)
        self.processes.append(daemon.process)
        return daemon

    def only_the_mesh(self, over):
        # Sets, because nft takes two ports that are compared with numbers for one word.
        open_to = {"mesh-quic": f"{{ {PORT}, {PORT + 1} }}", "mesh-tcp": f"{{ 4001, {PORT} }}"}[over]
        for host, peer in (("a", TAKER), ("b", GIVER)):
            rules = (f"table ip w {{\n chain i {{\n type filter hook input priority 0;\n"
                     f" ip saddr {peer} tcp dport != {open_to} tcp sport != {open_to} drop\n }}\n}}\n")
            subprocess.run(self.inside(host) + ["nft", "-f", "-"], input=rules, text=True, check=True)

    def plain(self, how):
        take = TAKE.format(giver=GIVER, port=PORT, how=how.ljust(8, "."), mib=self.args.mib)
        done = subprocess.run(self.inside("b") + [sys.executable, "-c", take], capture_output=True, text=True, timeout=600)
        return float(done.stdout)

    def pull(self, giver, taker, n):
        source, dest = f"{self.home}/from{n}", f"{self.home}/to{n}"
        with open(source, "wb") as f:
            f.write(os.urandom(self.args.mib << 20))
        ticket = giver.ask("POST", "/v1/files", {"path": source, "share": True})["file"]["ticket"]
        begun = time.time()
        made = taker.ask("POST", "/v1/transfers", {"what": ticket, "dest": dest})["transfer"]["transfer"]
        state = None
        while state not in ("done", "failed", "cancelled"):
            state = taker.ask("GET", f"/v1/transfers/{made}?wait_ms=20000")["transfer"]["state"]
        took = time.time() - begun
        assert state == "done" and open(source, "rb").read() == open(dest, "rb").read(), state
        return took

    def measure(self):
        args = self.args
        transports = {"bulk": "both", "mesh-quic": "quic", "mesh-tcp": "tcp"}[args.over]
        relay = self.start("relay", "relay", listen="4001", relay="on")
        giver, taker = (self.start(h, h, listen="4001", relay="off", transports=transports) for h in "ab")
        if args.over != "bulk":
            self.only_the_mesh(args.over)
        relay.ask("POST", "/v1/mesh", {"name": "lab", "mint": 10**9, "default_score": 50, "worker": False})
        for node in (giver, taker):
            invite = relay.ask("POST", "/v1/invites", {"role": "client", "uses": 1, "ttl_ms": 3_600_000})
            node.ask("POST", "/v1/join", {"ticket": invite["invite"]["ticket"]})
        serve = SERVE.format(port=PORT, mib=args.mib)
        self.processes.append(subprocess.Popen(self.inside("a") + [sys.executable, "-c", serve]))
        time.sleep(3)
        pairs = [(self.plain("own"), self.pull(giver, taker, n)) for n in range(args.rounds)]
        plain, ours = (statistics.median(side) for side in zip(*pairs))
        speed = lambda seconds: f"{args.mib * 8.388608 / seconds:.1f} Mbit/s"
        line = f"{args.over}: plain {speed(plain)}, ours {speed(ours)}, {100 * plain / ours:.0f} %"
        if args.cubic:
            line += f"; plain CUBIC {speed(self.plain('cubic'))}"
        path = taker.ask("GET", f"/v1/net/paths/{giver.ask('GET', '/v1/status')['status']['node']}")["paths"]
        print(f"{line}; {path['state']} over {path.get('transport')}; load {os.getloadavg()[0]:.1f}; "
              f"seconds {[tuple(round(s, 2) for s in pair) for pair in pairs]}")

    def end(self):
        for process in self.processes:
            if process.stdin:
                process.stdin.close()
            else:
                process.kill()
        for process in self.processes:
            process.wait(20)
        self.lab.stdin.close()
        self.lab.wait(20)
        shutil.rmtree(self.home)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs")
    parser.add_argument("--over", choices=["bulk", "mesh-quic", "mesh-tcp"], default="bulk")
    parser.add_argument("--delay", default="25ms")
    parser.add_argument("--loss", default="")
    parser.add_argument("--rate", default="")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cubic", action="store_true")
    run = Run(parser.parse_args())
    try:
        run.measure()
    finally:
        run.end()


main()
