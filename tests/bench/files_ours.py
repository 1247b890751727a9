"""Our side of `files.py`: daemons of a mesh as separate processes, driven by the commands a user has."""
import json, os, subprocess, time
from pathlib import Path

from files_lab import Failed, wait_for
from files_peers import Peer


class Hivenode(Peer):
    name = "hivenode"
    encrypted, verified = "yes", "per 64 KiB (BLAKE3)"
    delta = swarm = resume = True

    def __init__(self, program):
        self.program = Path(program)

    def install(self):
        if not self.program.exists():
            raise Failed(f"{self.program} is not there (cargo build --release, or --hivenode PATH)")
        done = subprocess.run([self.program, "file", "--help"], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed("this hivenode has no file commands")
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()

    def cli(self, node, *words, cwd=None, check=True, timeout=1800):
        return node.run(self.program, "--data", node.dir / "hive", *words, cwd=cwd, check=check, timeout=timeout)

    def start(self, node, role):
        node.spawn(self.program, "--data", node.dir / "hive", "serve", "--name", node.name,
                   "--listen", f"/ip4/{node.address}/udp/0/quic-v1", "--listen", f"/ip4/{node.address}/tcp/0")
        wait_for(f"{node.name}'s daemon", 30, lambda: self.up(node))
        if getattr(node, "joined", False):
            self.online(node)

    def up(self, node):
        done = subprocess.run(node.words([self.program, "--data", node.dir / "hive", "-q", "status"]), capture_output=True)
        return done.returncode == 0

    def online(self, node):
        """A node that came back has reached the others again; their number is what it knew before."""
        wait_for(f"{node.name}'s peers", 30, lambda: self.peers(node) >= node.others)

    def peers(self, node):
        text = self.cli(node, "--json", "status", check=False)
        try:
            return count_peers(json.loads(text))
        except ValueError:
            return 0

    def connect(self, nodes):
        """The first source founds the mesh, so that a pair is two daemons and nothing else."""
        first, *rest = nodes
        self.cli(first, "mesh", "create", "bench", "--no-worker")
        for node in rest:
            ticket = self.cli(first, "-q", "invite", "--role", "client", "--grant", "0").strip()
            self.cli(node, "up", ticket)
        for node in nodes:
            node.joined, node.others = True, 1 if node is not first else len(rest)
            self.online(node)

    def offer(self, node, path):
        return self.cli(node, "-q", "file", "share", path).strip().splitlines()[-1], node.name

    def fetch(self, node, offers, folder, name, how=None):
        extra = ["--overwrite", "--like", folder / name] if how == "delta" else []
        others = [word for _, source in offers[1:] for word in ("--from", source)]
        try:
            self.cli(node, "-q", "--no-progress", "pull", offers[0][0], folder / name, *extra, *others)
        except Failed as error:
            # The daemon goes on by itself with what it was at when it was killed.
            if how != "resume" or not ("file.busy" in str(error) or "file.exists" in str(error)):
                raise
            wait_for("the resumed pull", 300, (folder / name).exists)

    def own_figures(self, lab):
        """What the receivers' daemons say of their transfers: bytes fetched, reused, and the path they went."""
        said = {}
        for node in lab.nodes:
            try:
                said[node.name] = json.loads(self.cli(node, "--json", "file", "status", check=False) or "{}")
            except ValueError:
                pass
        return dict(own=said)


def count_peers(document):
    """Peers connected, from the JSON of `status`, wherever it keeps them."""
    status = document.get("status", document)
    peers = status.get("peers", 0)
    if isinstance(peers, dict):
        peers = peers.get("connected", 0)
    return len(peers) if isinstance(peers, list) else peers
