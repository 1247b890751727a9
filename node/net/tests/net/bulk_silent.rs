//! Ways that die without a word while both ends live: a relay that stands still, and a cable that swallows everything.
//! Nobody is told, the kernel goes on acknowledging, and bulk streams end nevertheless, within seconds; healthy ones
//! on which nobody speaks do not.

use crate::{
    bulk::{PROTOCOL, pair, serve},
    mesh::{TestNode, member, member_with, soon, until},
};
use hive_net::{BulkPath, BulkStream, ListenAddrs, RelayLimits};
use hive_protocol::ids::NodeId;
use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Between the last byte and the end of a stream that is read: 2 s until the way is asked, 1.3 s for the answer and 2 s
/// more for anything at all, measured 3.5 to 3.9 s; a machine that lags behind gives others more time. TCP alone would not
/// notice for minutes here, if ever.
const NOTICED: Duration = Duration::from_secs(20);
/// The same for who sends and does not read: not before 10 s, during which a slow line may have taken nothing.
const NOTICED_BY_SENDER: Duration = Duration::from_secs(50);

/// A relay on a thread of its own, which can be made to stand still.
struct Stopped {
    id: NodeId,
    addrs: Vec<String>,
    stop: tokio::sync::mpsc::Sender<mpsc::Receiver<()>>,
}

impl Stopped {
    fn relay(seed: u8) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, mut stopping) = tokio::sync::mpsc::channel::<mpsc::Receiver<()>>(1);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let relay = member(seed).await;
                let _service = relay.net.serve_relay(RelayLimits::default()).unwrap();
                tell.send((relay.id(), relay.net.listen_addrs())).unwrap();
                if let Some(until) = stopping.recv().await {
                    // The only thread: everything of it stands still, and its sockets stay.
                    let _ = until.recv();
                }
            });
        });
        let (id, addrs) = told.recv().unwrap();
        Self { id, addrs, stop }
    }

    /// Stands still until what is given back is dropped.
    async fn stand_still(&self) -> mpsc::Sender<()> {
        let (hold, until) = mpsc::channel();
        self.stop.send(until).await.unwrap();
        hold
    }
}

async fn hidden(seed: u8) -> TestNode {
    member_with(seed, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await
}

/// Makes the way through a relay known, and no other yet.
async fn reachable(a: &TestNode, b: &TestNode, relay: NodeId) {
    let address = soon("a reservation", b.net.reserve(relay)).await.unwrap();
    a.net.learn(b.id(), vec![address]).await;
}

async fn broken(mut stream: impl AsyncRead + Unpin, since: Instant) -> Duration {
    let mut buf = vec![0; 64 << 10];
    loop {
        match soon("it breaks", stream.read(&mut buf)).await {
            Ok(0) => panic!("a break was taken for an end"),
            Ok(_) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::ConnectionAborted, "{e}");
                return since.elapsed();
            }
        }
    }
}

async fn stuck(mut stream: impl AsyncWrite + Unpin, since: Instant) -> Duration {
    let piece = vec![7; 64 << 10];
    let writing = async { while stream.write_all(&piece).await.is_ok() {} };
    soon("it breaks", writing).await;
    since.elapsed()
}

async fn passes(from: &mut BulkStream, to: &mut BulkStream) {
    from.write_all(b"still here").await.unwrap();
    from.flush().await.unwrap();
    let mut got = [0; 10];
    soon("the bytes", to.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
}

async fn works(near: &mut BulkStream, far: &mut BulkStream) {
    passes(near, far).await;
    passes(far, near).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_through_a_relay_that_stands_still_end_at_both_ends_and_go_on_through_another() {
    let first = Stopped::relay(140);
    let second = member(141).await;
    let service = second.net.serve_relay(RelayLimits::default()).unwrap();
    let (a, b, c) = (hidden(142).await, hidden(143).await, hidden(144).await);
    for node in [&a, &b] {
        node.net.dial(first.id, first.addrs.clone()).await.unwrap();
    }
    for node in [&a, &b, &c] {
        node.dial(&second).await;
    }
    let (mut inbound, mut idle_inbound) = (serve(&b), serve(&c));
    reachable(&a, &b, first.id).await;
    reachable(&a, &c, second.id()).await;
    // One on which nothing is said and everybody listens, on the way that stays.
    let (mut idle_far, mut idle_near) = pair(&c, &a, &mut idle_inbound).await;
    let through = |relay| BulkPath::Relayed { relay };
    assert_eq!(idle_near.path(), through(second.id()));
    let (mut one, mut other) = ([0; 1], [0; 1]);
    let waiting = async {
        tokio::select! { n = idle_near.read(&mut one) => n, n = idle_far.read(&mut other) => n }
    };
    let mut waiting = Box::pin(waiting);
    let (down_far, down_near) = pair(&b, &a, &mut inbound).await;
    let (up_far, up_near) = pair(&b, &a, &mut inbound).await;
    assert_eq!(down_near.path(), through(first.id));
    assert_eq!(up_far.path(), through(first.id));
    reachable(&a, &b, second.id()).await;

    let hold = first.stand_still().await;
    let since = Instant::now();
    let ends = async {
        tokio::join!(
            stuck(down_far, since),
            broken(down_near, since),
            stuck(up_near, since),
            broken(up_far, since)
        )
    };
    let ends = tokio::select! {
        ends = ends => ends,
        early = &mut waiting => panic!("a healthy stream has ended: {early:?}"),
    };
    println!("down: sender, receiver; up: sender, receiver: {ends:?}");
    let open = async {
        let (near, far) = tokio::join!(a.net.open_bulk(b.id(), PROTOCOL), inbound.accept());
        (near.unwrap(), far.unwrap().1)
    };
    let (mut near, mut far) = soon("another stream", open).await;
    works(&mut near, &mut far).await;
    println!("goes on after {:?} by {:?}", since.elapsed(), near.path());
    assert!(near.path() != through(first.id));
    let (down_sender, down_receiver, up_sender, up_receiver) = ends;
    for end in [down_receiver, up_receiver] {
        assert!(end < NOTICED, "{end:?}");
    }
    for end in [down_sender, up_sender] {
        assert!(end < NOTICED_BY_SENDER, "{end:?}");
    }
    let given_up = [&a, &b].map(|node| node.net.counters().bulk_given_up);
    assert_eq!(given_up, [2, 2]);
    drop(waiting);
    works(&mut idle_near, &mut idle_far).await;
    assert_eq!(c.net.counters().bulk_given_up, 0);
    drop((hold, service));
}

/// A cable for TCP that can be cut: what comes then is swallowed, and neither side hears of it.
async fn cable(from: SocketAddr, to: SocketAddr) -> Arc<AtomicBool> {
    let listener = TcpListener::bind(from).await.unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = Arc::clone(&cut);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((near, _)) = listener.accept().await {
            if is_cut.load(Ordering::SeqCst) {
                held.push(near);
                continue;
            }
            let far = TcpStream::connect(to).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(carry(near_read, far_write, Arc::clone(&is_cut)));
            tokio::spawn(carry(far_read, near_write, Arc::clone(&is_cut)));
        }
    });
    cut
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, cut: Arc<AtomicBool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_direct_streams_whose_mesh_way_has_died_those_end_that_carry_nothing() {
    let relay = member(146).await;
    let _service = relay.net.serve_relay(RelayLimits::default()).unwrap();
    // Where it listens nobody is told: all direct ways to it lead through the cables.
    let listen = |c: &mut hive_net::Config| {
        c.listen = ListenAddrs::Exactly(vec!["/ip4/127.0.0.2/tcp/0".to_owned()]);
    };
    let (a, b) = (member(147).await, member_with(148, listen).await);
    for node in [&a, &b] {
        node.net.set_published(Vec::new()).await;
        node.dial(&relay).await;
    }
    let mut inbound = serve(&b);
    let mesh: u16 = b.tcp()[0].rsplit('/').next().unwrap().parse().unwrap();
    let bulk = b.net.bulk_addrs()[0].port();
    let lay = async |port| cable(([127, 0, 0, 3], port).into(), ([127, 0, 0, 2], port).into()).await;
    let (mesh_cut, _bulk_stays) = (lay(mesh).await, lay(bulk).await);
    let circuit = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    let direct = format!("/ip4/127.0.0.3/tcp/{mesh}");
    a.net.dial(b.id(), vec![direct]).await.unwrap();
    a.net.learn(b.id(), vec![circuit]).await;
    let (mut busy_far, mut busy_near) = pair(&b, &a, &mut inbound).await;
    let (_silent_far, silent_near) = pair(&b, &a, &mut inbound).await;
    assert_eq!(busy_near.path(), BulkPath::Direct);
    let trickle = tokio::spawn(async move {
        while busy_far.write_all(b"x").await.is_ok() && busy_far.flush().await.is_ok() {
            // paced: a sender that takes its time is the matter.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    // The mesh's way only: TCP connections of their own are not touched.
    mesh_cut.store(true, Ordering::SeqCst);
    let since = Instant::now();
    let silent = tokio::spawn(broken(silent_near, since));
    until("the mesh has given its way up", async || {
        a.net.counters().paths_lost > 0
    })
    .await;
    let ended = soon("the silent one ends", silent).await.unwrap();
    println!("the silent one ended after {ended:?}");
    assert!(ended < NOTICED, "{ended:?}");
    let mut got = [0; 40];
    let reading = soon("four seconds' bytes", busy_near.read_exact(&mut got));
    reading.await.expect("a stream that carries bytes was ended");
    assert_eq!(a.net.counters().bulk_given_up, 1);
    trickle.abort();
}
