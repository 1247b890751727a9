"""One libtorrent session, driven by lines on standard input: the peer `libtorrent` of `files.py`.

Runs with the Python of a virtual environment that has libtorrent; the script makes one.
"""
import os, sys, time
import libtorrent as lt


def settings(address, port):
    return dict(
        listen_interfaces=f"{address}:{port}", enable_dht=False, enable_lsd=False, enable_upnp=False, enable_natpmp=False,
        enable_outgoing_utp=False, enable_incoming_utp=False,  # over its own uTP it is ten times slower here
        allow_multiple_connections_per_ip=True, alert_mask=lt.alert.category_t.storage_notification, hashing_threads=2, unchoke_slots_limit=16,
        auto_manage_startup=1, rate_limit_ip_overhead=False)


def create(path, torrent, version):
    flag = lt.create_torrent_flags_t.v2_only if version == "2" else 64  # v1_only, which the binding does not name
    storage = lt.file_storage()
    lt.add_files(storage, path)
    made = lt.create_torrent(storage, 0, flag)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as f:
        f.write(lt.bencode(made.generate()))


def add(session, torrent, folder, seed):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if seed:
        params.flags |= lt.torrent_flags.seed_mode
    return session.add_torrent(params)


def get(session, torrent, folder, peers):
    handle = add(session, torrent, folder, False)
    asked = 0
    while not handle.status().is_seeding:
        if time.monotonic() - asked > 1:  # a peer that was not up yet is tried again
            for peer in filter(None, peers.split(",")):
                address, port = peer.rsplit(":", 1)
                handle.connect_peer((address, int(port)))
            asked = time.monotonic()
        if handle.status().errc.value():
            return "error " + handle.status().errc.message()
        time.sleep(0.01)
    handle.flush_cache()  # verified is not yet written: ended is when the files say so
    end = time.monotonic() + 60
    while not any(isinstance(a, lt.cache_flushed_alert) for a in session.pop_alerts()):
        if time.monotonic() > end:
            return "error not flushed"
        session.wait_for_alert(50)
    return f"ok {handle.status().all_time_download}"


def main():
    session = lt.session(settings(sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.rstrip("\n").split("\t")
        if words[0] == "add":
            create(*words[1:4])
            words = ["seed", words[2], os.path.dirname(words[1])]
        if words[0] == "seed":
            add(session, words[1], words[2], True)
            answer = f"ok {words[1]}"
        else:
            answer = get(session, *words[1:4])
        print(answer, flush=True)


main()
