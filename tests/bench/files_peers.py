"""The peers of `files.py`, each behind the same few calls.

`install` makes it from the public registry when absent and says its version; `start` brings up what lives on a node
before the clock runs; `offer` makes a path ready to be fetched (hashing included) and says what a receiver needs;
`fetch` brings it to `folder/<name of the path>`. `stop` and kills are the node's matter.
"""
import http.client, json, os, shutil, socket, subprocess
from pathlib import Path

import files_iroh
from files_lab import Failed, port_open, sh, wait_for

CACHE = Path(os.environ.get("HIVENODE_BENCH_PEERS", "/tmp/peers"))  # what is built or downloaded for the peers
HERE = Path(__file__).resolve().parent


def debian(program):
    if not shutil.which(program):
        raise Failed(f"{program} is not installed (apt install {program})")


class Peer:
    name = version = ""
    encrypted = verified = "no"
    kinds = {"file", "folder"}  # what it can move
    delta = swarm = resume = False  # what it claims to do

    def start(self, node, role):
        pass

    def connect(self, nodes):
        """All nodes are up: tell them of each other, outside the clock."""

    def answer(self, child, what):
        """One line of a driven program."""
        line = child.stdout.readline().strip()
        if not line.startswith("ok"):
            raise Failed(f"{self.name} {what}: {line or 'ended'}")
        return line[3:]


class Rsync(Peer):
    name = "rsync daemon"
    verified = "at the end"
    delta = resume = True
    PORT = 8730

    def install(self):
        debian("rsync")
        return "rsync " + sh("rsync", "--version").split()[2]

    def start(self, node, role):
        if role != "source":
            return
        config = node.dir / "rsyncd.conf"
        config.write_text("use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n[all]\npath = /\nread only = yes\n")
        node.spawn("rsync", "--daemon", "--no-detach", f"--port={self.PORT}", f"--address={node.address}", f"--config={config}")
        wait_for("rsync daemon", 10, lambda: port_open(node, self.PORT))

    def offer(self, node, path):
        return f"rsync://{node.address}:{self.PORT}/all{path}"

    def options(self, how):
        return {"resume": ["--append-verify"], "delta": ["--no-whole-file"], "sparse": ["--sparse"]}.get(how, ["--whole-file"])

    def fetch(self, node, offers, folder, name, how=None):
        extra = ["--inplace"] if how == "killed later" else []
        node.run("rsync", "-a", *self.options(how), *extra, offers[0], f"{folder}/")


class RsyncInplace(Rsync):
    name = "rsync daemon --inplace"

    def options(self, how):
        return ["--inplace", "--no-whole-file"] if how in ("resume", "delta") else super().options(how)


class Ssh(Peer):
    """An sshd of its own with keys made for the trial; what runs over it is the sub-class's matter."""
    encrypted = "yes"
    verified = "per packet (MAC)"
    cipher = None
    PORT = 8722

    def install(self):
        debian("sshd")
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts itself in; Debian's unit makes it at boot
        return subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.split(",")[0]

    def start(self, node, role):
        keys = node.lab.dir / "keys"
        if not keys.exists():
            keys.mkdir(mode=0o700)
            for key in ("host", "user"):
                sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / key)
            shutil.copy(keys / "user.pub", keys / "allowed")
        if role == "source":
            config = keys / "sshd_config"
            config.write_text(f"ListenAddress {node.address}\nPort {self.PORT}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/allowed\n"
                              "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
                              "UseDNS no\nMaxStartups 100\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
            node.spawn("/usr/sbin/sshd", "-D", "-e", "-f", config)
            wait_for("sshd", 10, lambda: port_open(node, self.PORT))
        self.keys = keys

    def ssh_options(self):
        words = ["-F", "none", "-i", str(self.keys / "user"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        return words + (["-c", self.cipher] if self.cipher else [])

    def offer(self, node, path):
        return f"root@{node.address}", str(path)


class RsyncSsh(Ssh):
    name = "rsync + ssh"
    verified = "per packet, and at the end"
    delta = resume = True

    def fetch(self, node, offers, folder, name, how=None):
        (host, path), shell = offers[0], " ".join(["ssh", "-p", str(self.PORT), *self.ssh_options()])
        extra = ["--inplace"] if how == "killed later" else []
        node.run("rsync", "-a", *Rsync.options(self, how), *extra, "-e", shell, f"{host}:{path}", f"{folder}/")


class Scp(Ssh):
    name = "scp aes128-gcm"
    cipher = "aes128-gcm@openssh.com"

    def fetch(self, node, offers, folder, name, how=None):
        host, path = offers[0]
        node.run("scp", "-q", "-r", "-P", self.PORT, *self.ssh_options(), f"{host}:{path}", folder)


class Sendme(Peer):
    name = "sendme"
    encrypted, verified = "yes", "while streaming"
    resume = True
    VERSION = "0.37.1"

    def install(self):
        self.program = CACHE / "sendme/bin/sendme"
        if not self.program.exists():
            print(f"building sendme {self.VERSION} …", flush=True)
            subprocess.run(["cargo", "install", "--locked", "--root", CACHE / "sendme", "--version", self.VERSION, "sendme"],
                           check=True, env=dict(os.environ, CARGO_TARGET_DIR=str(CACHE / "target")))
        return sh(self.program, "--version").strip()

    LOCAL = ["--relay", "disabled", "--no-progress"]

    def offer(self, node, path):
        child = node.spawn(self.program, "send", *self.LOCAL, "--ticket-type", "addresses", path, stdout=subprocess.PIPE, text=True)
        while line := child.stdout.readline():
            if line.startswith("sendme receive "):
                return line.split()[2]
        raise Failed("sendme: no ticket")

    def fetch(self, node, offers, folder, name, how=None):
        node.run(self.program, "receive", *self.LOCAL, offers[0], cwd=folder)


class Iroh(Peer):
    name = "iroh-blobs library"
    encrypted, verified = "yes", "while streaming"
    resume = True

    def install(self):
        self.program = files_iroh.build(CACHE)
        return files_iroh.VERSION

    def start(self, node, role):
        child = node.spawn(self.program, node.dir / "store", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if child.stdout.readline().strip() != "ready":
            raise Failed("the iroh program did not start")
        node.iroh = child

    def tell(self, node, *words):
        node.iroh.stdin.write("\t".join(map(str, words)) + "\n")
        node.iroh.stdin.flush()
        return self.answer(node.iroh, words[0])

    def offer(self, node, path):
        return self.tell(node, "add", path)

    def fetch(self, node, offers, folder, name, how=None):
        self.tell(node, "get", offers[0], folder / name)


class Torrent(Peer):
    delta = swarm = resume = True
    PORT = 8681

    def __init__(self, version):
        self.which, self.name = version, f"libtorrent v{version}"
        self.verified = "per 16 KiB (SHA-256)" if version == "2" else "per piece (SHA-1)"

    def install(self):
        self.python = Path(os.environ.get("HIVENODE_BENCH_VENV", "/tmp/bench-venv")) / "bin/python"
        if not self.python.exists():
            sh("python3", "-m", "venv", self.python.parents[1])
        if subprocess.run([self.python, "-c", "import libtorrent"], capture_output=True).returncode != 0:
            sh(self.python, "-m", "pip", "install", "-q", "-r", HERE / "files-requirements.txt")
        return "libtorrent " + sh(self.python, "-c", "import libtorrent; print(libtorrent.__version__)").strip()

    def start(self, node, role):
        node.port = self.PORT + node.lab.nodes.index(node)
        node.torrent = node.spawn(self.python, HERE / "files_torrent.py", node.address, node.port,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if node.torrent.stdout.readline().strip() != "ready":
            raise Failed("the libtorrent session did not start")

    def tell(self, node, *words):
        node.torrent.stdin.write("\t".join(map(str, words)) + "\n")
        node.torrent.stdin.flush()
        return self.answer(node.torrent, words[0])

    def offer(self, node, path, like=None):
        if like:  # one more source of the same thing: it has the torrent file from elsewhere
            return self.tell(node, "seed", like, path.parent)
        count = len(list(node.dir.glob("*.torrent")))
        return self.tell(node, "add", path, node.dir / f"{path.name}.{count}.torrent", self.which)

    def fetch(self, node, offers, folder, name, how=None):
        others = ",".join(f"{n.address}:{n.port}" for n in node.lab.nodes if n is not node)
        self.tell(node, "get", offers[0], folder, others)


class Syncthing(Peer):
    """Daemons that know each other and share a folder; the clock runs from the moment the data stands in the sender's
    folder and a scan is asked for, until the receiver says that nothing is missing."""
    name = "syncthing"
    encrypted, verified = "yes", "per block (SHA-256)"
    delta = swarm = resume = True
    PORT, KEY = 8622, "bench"

    def install(self):
        debian("syncthing")
        return " ".join(sh("syncthing", "--version").split()[:2])

    def start(self, node, role):
        home = node.dir / "st"
        if not home.exists():
            (node.dir / "shared").mkdir(exist_ok=True)
            node.run("syncthing", "generate", f"--home={home}", "--no-default-folder", "--skip-port-probing")
            node.device = node.run("syncthing", f"--home={home}", "--device-id").strip()
        node.port = self.PORT + node.lab.nodes.index(node)
        if (home / "config.xml").read_text().find('id="bench"') >= 0:  # started again after a kill
            self.serve(node)

    def serve(self, node):
        node.spawn("syncthing", "serve", f"--home={node.dir / 'st'}", "--no-browser", "--no-restart", "--no-upgrade",
                   env=dict(STNOUPGRADE="1", HOME=str(node.dir)))
        wait_for("syncthing", 30, lambda: self.call(node, "GET", "/rest/system/ping", quiet=True))

    def connect(self, nodes):
        for node in nodes:
            (node.dir / "st/config.xml").write_text(self.config(node, nodes))
            self.serve(node)
        for node in nodes:
            wait_for("syncthing connections", 60, lambda: sum(
                c["connected"] for c in self.call(node, "GET", "/rest/system/connections")["connections"].values()) >= len(nodes) - 1)

    def config(self, node, nodes):
        devices = "".join(f'<device id="{n.device}" name="{n.name}" compression="metadata"><address>tcp://{n.address}:{n.port}</address></device>'
                          for n in nodes)
        members = "".join(f'<device id="{n.device}"></device>' for n in nodes)
        off = "globalAnnounceEnabled localAnnounceEnabled relaysEnabled natEnabled crashReportingEnabled startBrowser".split()
        options = "".join(f"<{o}>false</{o}>" for o in off)
        return (f'<configuration version="36"><folder id="bench" label="bench" path="{node.dir / "shared"}" type="sendreceive" '
                f'rescanIntervalS="0" fsWatcherEnabled="false">{members}<minDiskFree unit="%">0</minDiskFree></folder>{devices}'
                f'<gui enabled="true" tls="false"><address>{node.dir / "gui.sock"}</address>'
                f"<unixSocketPermissions>0600</unixSocketPermissions><apikey>{self.KEY}</apikey></gui>"
                f"<options><listenAddress>tcp://{node.address}:{node.port}</listenAddress>{options}<urAccepted>-1</urAccepted>"
                "<autoUpgradeIntervalH>0</autoUpgradeIntervalH></options></configuration>")

    def hold(self, node):
        """Nothing is fetched before `fetch`: for sources that must stand ready first."""
        self.call(node, "PATCH", "/rest/config/folders/bench", {"paused": True})
        node.held = True

    def call(self, node, method, path, body=None, quiet=False):
        connection = http.client.HTTPConnection("localhost", timeout=600)
        connection.sock = line = socket.socket(socket.AF_UNIX)  # the connection forgets it when the other side ends
        try:
            line.connect(str(node.dir / "gui.sock"))
            connection.request(method, path, json.dumps(body) if body else None, {"X-API-Key": self.KEY})
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            if quiet:
                return None
            raise Failed(f"syncthing {path}: {error}") from None
        finally:
            line.close()
        if answer.status != 200:
            raise Failed(f"syncthing {path}: {answer.status} {body[:200]}")
        return json.loads(body) if body.strip() else {}

    def place(self, node, path):
        """The data is put into the shared folder before the clock runs, in the way that costs nothing."""
        target = node.dir / "shared" / path.name
        if target.exists():
            target.unlink()
        sh("cp", "-r", "--link", path, target)

    def offer(self, node, path):
        self.call(node, "POST", "/rest/db/scan?folder=bench")
        return self.call(node, "GET", "/rest/db/status?folder=bench")["globalBytes"], None if path.is_dir() else self.modified(node, path.name)

    def modified(self, node, name):
        """The time of the version a node has itself: two versions of one size are told apart by it."""
        try:
            return self.call(node, "GET", f"/rest/db/file?folder=bench&file={name}")["local"]["modified"]
        except Failed:
            return None

    def fetch(self, node, offers, folder, name, how=None):
        if getattr(node, "held", False):
            self.call(node, "PATCH", "/rest/config/folders/bench", {"paused": False})

        size, version = offers[0]

        def done():
            state = self.call(node, "GET", "/rest/db/status?folder=bench")
            return (state["globalBytes"] == size and state["needBytes"] == 0 and state["needFiles"] == 0 and state["state"] == "idle"
                    and (version is None or self.modified(node, name) == version))
        wait_for("syncthing to be in sync", 900, done, pause=0.02)

    def where(self, node, folder, name):
        return node.dir / "shared" / name


def all_peers():
    return [Rsync(), Scp(), RsyncSsh(), Iroh(), Torrent("1"), Torrent("2"), Syncthing(), Sendme()]
