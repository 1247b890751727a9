"""The bench of `files.py`: nodes in network namespaces, and what a trial costs each of them.

A node is a folder, a namespace and a control group. CPU is the group's (children that ended included), memory is
the sum of the peaks of its processes, bytes are the counters of its interface. Everything made here is removed by
`Lab.close`. Needs root, iproute2, util-linux and a cgroup2 mount.
"""
import os, shutil, signal, subprocess, tempfile, threading, time
from pathlib import Path

MIB = 2**20
LINK = "10.77.0."  # addresses of a star; only ever inside namespaces made here


class Failed(Exception):
    """A trial that gave no figure, and why."""


def sh(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def cgroup_root():
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    raise SystemExit("no cgroup2 mount: CPU of a side cannot be told")


class Namespace:
    """A network namespace of its own: nothing in it can reach beyond it."""

    def __init__(self, name):
        self.name = name
        sh("ip", "netns", "add", name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
        self.holder = subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", "sleep", "infinity"])
        mine = os.stat(f"/run/netns/{name}").st_ino
        wait_for("a namespace", 10, lambda: os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == mine, pause=0.001)

    def counters(self, interface):
        """(bytes received, bytes sent) of an interface."""
        for line in Path(f"/proc/{self.holder.pid}/net/dev").read_text().splitlines():
            name, _, figures = line.partition(":")
            if name.strip() == interface:
                words = figures.split()
                return int(words[0]), int(words[8])
        raise Failed(f"no interface {interface} in {self.name}")

    def close(self):
        self.holder.kill()
        self.holder.wait()
        subprocess.run(["ip", "netns", "del", self.name])


class Node:
    def __init__(self, lab, name, namespace, address, interface):
        self.lab, self.name, self.namespace, self.address, self.interface = lab, name, namespace, address, interface
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.group = lab.cgroup / name
        self.group.mkdir()
        self.children = []

    def words(self, command, cwd=None):
        enter = 'echo $$ > "$0"; exec "$@"'
        return ["sh", "-c", enter, str(self.group / "cgroup.procs"), "nsenter", f"--net=/run/netns/{self.namespace.name}",
                *map(str, command)]

    def spawn(self, *command, cwd=None, env=None, log="log", **pipes):
        """A process that lives until `stop`; its output goes to a file of the node unless a pipe is asked for."""
        out = open(self.dir / log, "ab")
        pipes = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out} | pipes
        child = subprocess.Popen(self.words(command), cwd=cwd or self.dir, env=dict(os.environ, **(env or {})), **pipes)
        out.close()
        self.children.append(child)
        return child

    def run(self, *command, cwd=None, env=None, timeout=1800, check=True):
        """A process that is waited for; its standard output."""
        child = subprocess.Popen(self.words(command), cwd=cwd or self.dir, env=dict(os.environ, **(env or {})), text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise Failed(f"{Path(str(command[0])).name} did not end in {timeout} s") from None
        if check and child.returncode != 0:
            raise Failed(f"{Path(str(command[0])).name} ended with {child.returncode}: {err.strip()[-600:]}")
        return out

    def cpu(self):
        for line in (self.group / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e6

    def pids(self):
        return [int(p) for p in (self.group / "cgroup.procs").read_text().split()]

    def memory(self):
        """(sum of the peaks, sum of the anonymous part now) of the processes that live, in bytes."""
        peak = anonymous = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak += int(line.split()[1]) * 1024
                    elif line.startswith("RssAnon:"):
                        anonymous += int(line.split()[1]) * 1024
            except OSError:
                pass
        return peak, anonymous

    def forget_peaks(self):
        for pid in self.pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass

    def traffic(self):
        return self.namespace.counters(self.interface)

    def kill(self):
        """kill -9 of all the node's processes, at once."""
        (self.group / "cgroup.kill").write_text("1")
        self.reap()

    def reap(self):
        end = time.time() + 10
        while self.pids() and time.time() < end:
            time.sleep(0.005)
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                pass
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    try:
                        pipe.close()
                    except OSError:
                        pass
        self.children = []

    def stop(self):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        end = time.time() + 5
        while time.time() < end and any(c.poll() is None for c in self.children):
            time.sleep(0.01)
        self.kill()


class Lab:
    """All that one trial needs. `loop`: every node in one namespace, over its loopback. Otherwise a star of one
    namespace a node, links shaped to `mbit` in both directions when given."""

    count = 0

    def __init__(self, base, names, mbit=None, loop=False):
        Lab.count += 1
        self.dir = Path(tempfile.mkdtemp(prefix="hb-", dir=base))
        self.cgroup = cgroup_root() / f"hb-{os.getpid()}-{Lab.count}"
        self.cgroup.mkdir()
        self.spaces, self.nodes = [], []
        try:
            if loop:
                space = self.space("l")
                self.nodes = [Node(self, n, space, "127.0.0.1", "lo") for n in names]
            else:
                self.star(names, mbit)
        except BaseException:
            self.close()
            raise

    def space(self, name):
        self.spaces.append(Namespace(f"hb{os.getpid()}-{Lab.count}{name}"))
        return self.spaces[-1]

    def star(self, names, mbit):
        hub = self.space("h")
        sh("ip", "-n", hub.name, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", hub.name, "link", "set", "br0", "up")
        for i, name in enumerate(names):
            space = self.space(str(i))
            sh("ip", "-n", hub.name, "link", "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", space.name)
            sh("ip", "-n", hub.name, "link", "set", f"p{i}", "master", "br0", "up")
            sh("ip", "-n", space.name, "address", "add", f"{LINK}{i + 1}/24", "dev", "eth0")
            sh("ip", "-n", space.name, "link", "set", "eth0", "up")
            self.nodes.append(Node(self, name, space, f"{LINK}{i + 1}", "eth0"))
            if mbit:
                self.shape(i, mbit)

    def shape(self, i, mbit):
        """Both directions of a node's link, at layer 2: what passes the link, not what a program counts."""
        burst = max(64 * 1024, int(mbit * 1e6 / 8 / 250))  # at least what passes in one tick of the kernel
        for space, interface in ((self.nodes[i].namespace, "eth0"), (self.spaces[0], f"p{i}")):
            sh("tc", "-n", space.name, "qdisc", "replace", "dev", interface, "root", "tbf", "rate", f"{mbit}mbit",
               "burst", burst, "latency", "50ms")

    def close(self):
        for node in self.nodes:
            node.stop()
            node.group.rmdir()
        self.cgroup.rmdir()
        for space in self.spaces:
            space.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def machine_busy():
    """CPU seconds all processes of the machine have had so far, and interrupts."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = [int(w) for w in words]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


class Meter:
    """From `with` to its end: wall seconds, and of each node CPU seconds, peak memory, bytes in and out."""

    PERIOD = 0.02  # seconds between two looks at memory: a process that ends in between is missed only then

    def __init__(self, nodes):
        self.nodes, self.laps = nodes, {}

    def __enter__(self):
        self.peak = {n.name: 0 for n in self.nodes}
        self.anonymous = dict(self.peak)
        for node in self.nodes:
            node.forget_peaks()
        self.cpu0 = {n.name: n.cpu() for n in self.nodes}
        self.net0 = {n.name: n.traffic() for n in self.nodes}
        self.busy0 = machine_busy()
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()
        self.began = time.perf_counter()
        return self

    def watch(self):
        while not self.ended.wait(self.PERIOD):
            self.look()

    def look(self):
        for node in self.nodes:
            peak, anonymous = node.memory()
            self.peak[node.name] = max(self.peak[node.name], peak)
            self.anonymous[node.name] = max(self.anonymous[node.name], anonymous)

    def lap(self, name):
        self.laps[name] = time.perf_counter() - self.began

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.began
        self.ended.set()
        self.watcher.join()
        self.look()

    def figures(self):
        cpu = {n.name: n.cpu() - self.cpu0[n.name] for n in self.nodes}
        net = {n.name: [b - a for a, b in zip(self.net0[n.name], n.traffic())] for n in self.nodes}
        return dict(wall=self.wall, laps=self.laps, cpu=cpu, net=net, peak_mib={k: v / MIB for k, v in self.peak.items()},
                    anon_mib={k: v / MIB for k, v in self.anonymous.items()},
                    others_cpu=max(0.0, machine_busy() - self.busy0 - sum(cpu.values())), load=os.getloadavg()[0])


def random_file(path, size):
    with open(path, "wb") as f:
        while size > 0:
            f.write(os.urandom(min(size, 8 * MIB)))
            size -= 8 * MIB


def random_folder(path, files, size):
    """`files` files of `size` bytes in folders of a hundred."""
    for i in range(files):
        if i % 100 == 0:
            (path / f"d{i // 100:04}").mkdir(parents=True)
        (path / f"d{i // 100:04}" / f"f{i:06}.bin").write_bytes(os.urandom(size))


def same(path, other):
    """Whether a copy is one, by every byte; neither modes nor times."""
    words = ["diff", "-rq"] if Path(path).is_dir() else ["cmp", "-s"]
    return Path(other).exists() and subprocess.run([*words, str(path), str(other)], capture_output=True).returncode == 0


def wait_for(what, seconds, check, pause=0.01):
    end = time.time() + seconds
    while time.time() < end:
        if answer := check():
            return answer
        time.sleep(pause)
    raise Failed(f"{what}: not within {seconds} s")


def port_open(node, port):
    """Whether something listens on a port of the node, read from its namespace's table."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{node.namespace.holder.pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and int(words[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False
