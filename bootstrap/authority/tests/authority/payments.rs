//! Commands through the handle: exactly once, in order, signed answers, time.

use crate::rig::{MINTED, Member, Mesh, START, id16, runtime};
use hive_authority::{AuthorityHandle, Notice};
use hive_protocol::{
    authority::{Answer, Ask, HoldState, MAX_IN_FLIGHT, Request},
    command::CommandBody,
    ids::{CommandId, HoldId, LeaseId, NodeId},
    keys::Signed,
    money::MicroCpt,
    receipt::{Countersigned, Receipt},
    time::{Millis, Timestamp},
};
use hive_state::Event;
use std::time::Duration;

fn hold_body(n: u64, payee: &Member, amount: u64, expires: Timestamp) -> CommandBody {
    CommandBody::Hold {
        hold: HoldId(id16(8, n)),
        lease: LeaseId(id16(9, n)),
        payee: payee.account(),
        amount: MicroCpt(amount),
        expires,
    }
}

fn receipt(mesh: &Mesh, n: u64, worker: &Member, submitter: &Member, amount: u64) -> Countersigned {
    let receipt = Receipt {
        network: mesh.network(),
        lease: LeaseId(id16(9, n)),
        hold: HoldId(id16(8, n)),
        worker: worker.node(),
        submitter: submitter.node(),
        sequence: 1,
        tasks: 3,
        fuel: 1000,
        amount: MicroCpt(amount),
        time: mesh.now(),
    };
    let signed = Signed::sign(&worker.node_key, &receipt).unwrap();
    Countersigned::sign(&submitter.node_key, signed)
}

#[test]
fn hold_capture_and_retries_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&path).unwrap();
        let handle = authority.handle();
        let payer = mesh.admit(&handle, 1, 1000).await;
        let worker = mesh.admit(&handle, 2, 0).await;
        let hold = mesh.command(
            &payer.node_key,
            payer.account(),
            CommandId(id16(1, 1)),
            hold_body(1, &worker, 400, mesh.now() + Millis::hours(1)),
        );
        let held = mesh.submit(&handle, hold.clone()).await.unwrap();
        let grant = held.grant.clone().unwrap();
        let words = grant.verify_by(&mesh.node().0).unwrap();
        assert_eq!((words.payee, words.amount), (worker.account(), MicroCpt(400)));
        let capture = mesh.command(
            &worker.node_key,
            worker.account(),
            CommandId(id16(1, 2)),
            CommandBody::Capture {
                receipt: receipt(&mesh, 1, &worker, &payer, 150),
            },
        );
        let paid = mesh.submit(&handle, capture.clone()).await.unwrap();
        assert_eq!(paid.paid, MicroCpt(150));
        let entries = handle.metrics().entries;
        // Retries write nothing and are answered alike, before and after a restart.
        assert_eq!(mesh.submit(&handle, hold.clone()).await.unwrap(), held);
        assert_eq!(handle.metrics().entries, entries);
        authority.close().unwrap();
        let authority = mesh.open(&path).unwrap();
        assert_eq!(authority.report().records, entries);
        let handle = authority.handle();
        assert_eq!(mesh.submit(&handle, hold).await.unwrap(), held);
        assert_eq!(mesh.submit(&handle, capture).await.unwrap(), paid);
        assert_eq!(handle.metrics().entries, entries);
        mesh.check_balance(&handle, 1, 850).await;
        mesh.check_balance(&handle, 2, 150).await;
        // The same id for another wish is refused, and so is what nobody signed rightly.
        let other = mesh.command(
            &payer.node_key,
            payer.account(),
            CommandId(id16(1, 1)),
            hold_body(2, &worker, 1, mesh.now() + Millis::hours(1)),
        );
        assert_eq!(
            mesh.submit(&handle, other).await.unwrap_err().code,
            "command.id_reused"
        );
        let forged = mesh.command(
            &worker.owner,
            payer.account(),
            CommandId(id16(1, 3)),
            CommandBody::Transfer {
                to: worker.account(),
                amount: MicroCpt(1),
                memo: String::new(),
            },
        );
        assert_eq!(
            mesh.submit(&handle, forged).await.unwrap_err().code,
            "command.signer"
        );
        let poor = mesh.command(
            &worker.owner,
            worker.account(),
            CommandId(id16(1, 4)),
            CommandBody::Transfer {
                to: payer.account(),
                amount: MicroCpt(151),
                memo: String::new(),
            },
        );
        assert!(
            mesh.submit(&handle, poor)
                .await
                .unwrap_err()
                .code
                .starts_with("wallet.")
        );
        assert_eq!(handle.metrics().entries, entries);
    });
}

#[test]
fn holds_end_by_themselves_in_the_log_and_time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&path).unwrap();
        let handle = authority.handle();
        let worker = mesh.admit(&handle, 1, 0).await;
        let hold = mesh.founders(
            CommandId(id16(1, 1)),
            hold_body(1, &worker, 400, mesh.now() + Millis::mins(5)),
        );
        mesh.submit(&handle, hold).await.unwrap();
        let mut news = handle.subscribe();
        let entries = handle.metrics().entries;
        mesh.pass(Millis::mins(6));
        // Nobody asks anything: the authority notices by itself.
        let expired = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Notice::Ledger {
                    event: Event::Expired { hold },
                    ..
                } = news.recv().await.unwrap()
                {
                    return hold;
                }
            }
        });
        assert_eq!(expired.await.unwrap(), HoldId(id16(8, 1)));
        assert_eq!(handle.metrics().entries, entries + 1);
        let late = mesh.now();
        authority.close().unwrap();
        // The clock is set back by a day: records go on at the time of the last one.
        mesh.set_clock(START - Millis::hours(24));
        let authority = mesh.open(&path).unwrap();
        let handle = authority.handle();
        let state = handle
            .view(|s, _, _| s.hold_view(&HoldId(id16(8, 1))))
            .await
            .unwrap();
        assert_eq!(state.unwrap().state, HoldState::Expired);
        mesh.set_clock(late - Millis::mins(30));
        mesh.submit(&handle, mesh.transfer(1, worker.account(), 3))
            .await
            .unwrap();
        assert_eq!(handle.metrics().last_time, late);
        mesh.check_balance(&handle, 1, 3).await;
    });
}

#[test]
fn a_refused_command_never_ends_a_hold_unlogged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&path).unwrap();
        let handle = authority.handle();
        let worker = mesh.admit(&handle, 1, 0).await;
        let hold = mesh.founders(
            CommandId(id16(1, 1)),
            hold_body(1, &worker, MINTED, mesh.now() + Millis::mins(5)),
        );
        mesh.submit(&handle, hold).await.unwrap();
        mesh.pass(Millis::mins(5));
        let entries = handle.metrics().entries;
        let absurd = mesh.transfer(1, worker.account(), MINTED + 1);
        mesh.submit(&handle, absurd).await.unwrap_err();
        let view = handle
            .view(|s, _, _| s.hold_view(&HoldId(id16(8, 1))))
            .await
            .unwrap();
        assert_eq!(view.unwrap().state, HoldState::Expired);
        assert_eq!(handle.metrics().entries, entries + 1, "the tick is in the log");
        let live = handle.view(|s, _, _| s.ledger().totals()).await.unwrap();
        authority.close().unwrap();
        mesh.set_clock(START);
        let authority = mesh.open(&path).unwrap();
        let again = authority
            .handle()
            .view(|s, _, _| s.ledger().totals())
            .await
            .unwrap();
        assert_eq!(live, again);
    });
}

/// How long the ordering thread is held up while commands gather, in milliseconds: longer each time that nothing had
/// gathered.
const HELD_UP_MS: [u64; 5] = [0, 20, 100, 500, 2500];

/// Keeps the ordering thread busy until what is given back is used.
async fn hold_up(handle: &AuthorityHandle) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let handle = handle.clone();
    let blocker = tokio::spawn(async move {
        let busy = handle.view(move |_, _, _| {
            begin.send(()).unwrap();
            gate.recv().unwrap();
        });
        busy.await.unwrap();
    });
    begun.await.unwrap();
    (release, blocker)
}

#[test]
fn commands_of_one_batch_are_ordered_and_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        let payee = mesh.admit(&handle, 1, 0).await;
        let mut paid = 0;
        // A disk that is done at once leaves nothing to wait for: then commands are made to wait.
        for held_up in HELD_UP_MS {
            let before = handle.metrics();
            let (release, blocker) = hold_up(&handle).await;
            let tasks: Vec<_> = (paid..paid + 400)
                .map(|n| {
                    let (handle, command) = (handle.clone(), mesh.transfer(n, payee.account(), 1));
                    let node = NodeId([u8::try_from(n % 400 / MAX_IN_FLIGHT as u64).unwrap(); 32]);
                    tokio::spawn(
                        async move { crate::rig::submit(&handle, node, command).await.unwrap().index },
                    )
                })
                .collect();
            // paced: commands gather meanwhile
            tokio::time::sleep(Duration::from_millis(held_up)).await;
            release.send(()).unwrap();
            blocker.await.unwrap();
            let mut places = Vec::new();
            for task in tasks {
                places.push(task.await.unwrap());
            }
            places.sort_unstable();
            let first = before.entries;
            assert_eq!(places, (first..first + 400).collect::<Vec<_>>());
            let buckets: u64 = handle.metrics().fsync_buckets.iter().sum();
            assert_eq!(buckets, handle.metrics().fsyncs);
            paid += 400;
            mesh.check_balance(&handle, 1, paid).await;
            let syncs = handle.metrics().fsyncs - before.fsyncs;
            println!("400 commands in {syncs} syncs, held up for {held_up} ms");
            if syncs < 400 {
                return;
            }
        }
        panic!("commands that wait share a sync");
    });
}

#[test]
fn one_node_cannot_have_more_than_its_share_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        // The ordering thread is kept busy, so that every request stays unanswered.
        let (release, blocker) = hold_up(&handle).await;
        let (ours, other) = (mesh.node(), NodeId([5; 32]));
        let ask = |node, number| {
            let handle = handle.clone();
            tokio::spawn(async move {
                handle
                    .ask(
                        node,
                        Request {
                            number,
                            body: Ask::Totals,
                        },
                    )
                    .await
            })
        };
        let mut tasks: Vec<_> = (0..=MAX_IN_FLIGHT as u64).map(|n| ask(ours, n)).collect();
        let (first, _, rest) = futures_select(tasks.split_off(0)).await;
        assert!(
            matches!(&first.body, Answer::Refused(r) if r.code == "authority.busy"),
            "{first:?}"
        );
        let foreign = ask(other, 1);
        release.send(()).unwrap();
        blocker.await.unwrap();
        assert!(matches!(foreign.await.unwrap().body, Answer::Refused(r) if r.code == "node.unknown"));
        for task in rest {
            assert!(matches!(task.await.unwrap().body, Answer::Totals(_)));
        }
        assert_eq!(handle.metrics().busy, 1);
        assert_eq!(handle.metrics().queue, 0);
    });
}

/// The first of these tasks to end, and the others.
async fn futures_select<T>(
    mut tasks: Vec<tokio::task::JoinHandle<T>>,
) -> (T, usize, Vec<tokio::task::JoinHandle<T>>) {
    let (value, place) = std::future::poll_fn(|cx| {
        for (n, task) in tasks.iter_mut().enumerate() {
            if let std::task::Poll::Ready(done) = std::pin::Pin::new(task).poll(cx) {
                return std::task::Poll::Ready((done.unwrap(), n));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    drop(tasks.remove(place));
    (value, place, tasks)
}
