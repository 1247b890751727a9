//! A filled-in sample of every wire message, with each of its variants, and of every signed document.

mod authority;
mod files;

use super::seen::Seen;
use hive_protocol::{
    authority::*,
    codec::{self, CodecError, Message},
    command::*,
    credential::*,
    genesis::Genesis,
    gossip::*,
    ids::*,
    join::*,
    keys::{Document, SecretKey, Signed},
    member::*,
    money::*,
    receipt::*,
    resources::*,
    task::*,
    ticket::Ticket,
    time::Timestamp,
    work::*,
};

pub struct Sample {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub proto: Option<u16>,
    /// Decodes and encodes again.
    pub again: fn(&[u8]) -> Result<Vec<u8>, CodecError>,
    /// Notes the variants that stand in it; a text has none.
    pub look: fn(&[u8], &Seen),
}

fn message<M: Message>(name: &'static str, m: &M) -> Sample {
    Sample {
        name,
        bytes: codec::seal(m).unwrap(),
        proto: Some(M::PROTO),
        again: |b| codec::open::<M>(b).and_then(|m| codec::seal(&m)),
        look: |b, seen| seen.look::<M>(&b[codec::ENVELOPE_LEN..]),
    }
}

/// A second sample of a message whose protocol number is already counted.
fn variant<M: Message>(name: &'static str, m: &M) -> Sample {
    Sample {
        proto: None,
        ..message(name, m)
    }
}

fn document<D: Document>(name: &'static str, d: &D) -> Sample {
    Sample {
        name,
        bytes: codec::encode(D::DOMAIN, d, D::MAX).unwrap(),
        proto: None,
        again: |b| {
            codec::decode::<D>(D::DOMAIN, b, D::MAX).and_then(|d| codec::encode(D::DOMAIN, &d, D::MAX))
        },
        look: |b, seen| seen.look::<D>(b),
    }
}

const NET: NetworkId = NetworkId([9; 32]);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn resources() -> Resources {
    Resources {
        cpu_milli: 4000,
        memory_mib: 8192,
        disk_mib: 50_000,
        gpus: 1,
        gpu_memory_mib: 24_576,
        gpu_name: "RTX 4090".into(),
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        total: resources(),
        cpu_score: 412,
        gpu_score: 9870,
        containers: true,
        runtimes: vec!["wasm".into()],
        location: "eu-fra".into(),
        version: "0.1.0".into(),
    }
}

fn credential() -> Credential {
    Credential {
        network: NET,
        node: NodeId(key(2).public()),
        account: AccountId(key(3).public()),
        name: "blue-heron".into(),
        score: 71,
        containers: true,
        roles: vec![Role::Worker, Role::Client],
        issued: Timestamp(1_700_000_000_000),
        expires: Timestamp(1_700_001_200_000),
    }
}

fn signed_credential() -> Signed<Credential> {
    Signed::sign(&key(1), &credential()).unwrap()
}

fn grant() -> HoldGrant {
    HoldGrant {
        network: NET,
        hold: HoldId([4; 16]),
        lease: LeaseId([5; 16]),
        payer: AccountId([6; 32]),
        payee: AccountId([7; 32]),
        amount: MicroCpt(5_000_000),
        expires: Timestamp(1_700_000_600_000),
    }
}

fn receipt() -> Receipt {
    Receipt {
        network: NET,
        lease: LeaseId([5; 16]),
        hold: HoldId([4; 16]),
        worker: NodeId(key(2).public()),
        submitter: NodeId(key(4).public()),
        sequence: 3,
        tasks: 700,
        fuel: 12_345_678_901,
        amount: MicroCpt(12_346),
        time: Timestamp(1_700_000_100_000),
    }
}

fn countersigned() -> Countersigned {
    Countersigned::sign(&key(4), Signed::sign(&key(2), &receipt()).unwrap())
}

fn delegation() -> Delegation {
    Delegation {
        network: NET,
        account: AccountId(key(3).public()),
        node: NodeId(key(2).public()),
        expires: Timestamp(1_800_000_000_000),
    }
}

fn command(body: CommandBody) -> Command {
    Command {
        network: NET,
        account: AccountId(key(3).public()),
        id: CommandId([8; 16]),
        not_after: Timestamp(1_700_000_060_000),
        body,
    }
}

fn join_body() -> CommandBody {
    CommandBody::Join {
        invite: InviteId([1; 16]),
        secret: [2; 16],
        delegation: Signed::sign(&key(3), &delegation()).unwrap(),
        name: "blue-heron".into(),
        capabilities: capabilities(),
    }
}

fn program() -> Program {
    Program {
        runtime: RuntimeKind::Wasm,
        module: BlobRef::by_hash(BlobHash([3; 32]), 50_000),
        need: Resources::cpu(1000, 64, 64),
        limits: Limits::default(),
        name: "tile".into(),
    }
}

fn order() -> TaskOrder {
    TaskOrder {
        index: TaskIndex(17),
        attempt: 2,
        spec: TaskSpec {
            args: vec!["/in/a.txt".into(), "/out/out".into()],
            env: vec![("SEED".into(), "7".into())],
            stdin: Some(BlobRef::of(b"small")),
            inputs: vec![InputFile {
                path: "a.txt".into(),
                blob: BlobRef::by_hash(BlobHash([1; 32]), 1 << 20),
            }],
            collect_out: true,
        },
    }
}

fn result(outcome: Outcome) -> TaskResult {
    TaskResult {
        index: TaskIndex(17),
        attempt: 2,
        outcome,
        stdout: Some(BlobRef::of(b"1 2 3\n")),
        stderr: None,
        outputs: vec![OutputFile {
            path: "out".into(),
            blob: BlobRef::by_hash(BlobHash([2; 32]), 99_999),
        }],
        usage: Usage {
            fuel: 1_000_000,
            wall_us: 2500,
            cpu_us: 2400,
            memory: 1 << 20,
        },
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        capabilities: capabilities(),
        free: resources(),
        running: 3,
        price: Price {
            per_gfuel: MicroCpt(1000),
        },
        addrs: vec!["/ip4/127.0.0.1/udp/4001/quic-v1".into()],
    }
}

fn frame(messages: Vec<WorkMsg>) -> WorkFrame {
    WorkFrame { messages }
}

fn lease(body: LeaseBody) -> WorkFrame {
    frame(vec![WorkMsg::Lease {
        lease: LeaseId([5; 16]),
        seq: 7,
        ack: 6,
        body,
    }])
}

fn lease_request(name: &'static str, runtime: RuntimeKind) -> Sample {
    let request = LeaseRequest {
        lease: LeaseId([5; 16]),
        demand: DemandId([1; 16]),
        job: JobId([2; 16]),
        slots: 2,
        price: Price {
            per_gfuel: MicroCpt(1000),
        },
        hold: Signed::sign(&key(1), &grant()).unwrap(),
        credential: signed_credential(),
        program: Program { runtime, ..program() },
    };
    variant(name, &frame(vec![WorkMsg::LeaseRequest(Box::new(request))]))
}

pub fn all() -> Vec<Sample> {
    let ticket = Ticket::new(
        NET,
        "lab".into(),
        vec![(NodeId([2; 32]), "/ip4/127.0.0.1/udp/4001/quic-v1".into())],
        InviteId([3; 16]),
        [4; 16],
        Role::Worker,
        Timestamp(1_700_000_000_000),
    );
    let mut all = vec![
        document(
            "genesis",
            &Genesis {
                name: "lab".into(),
                nonce: [1; 16],
                created: Timestamp(1_700_000_000_000),
                authorities: vec![NodeId(key(1).public())],
                founder: AccountId(key(5).public()),
                minted: MicroCpt::cpt(1_000_000),
                default_score: 50,
            },
        ),
        document("delegation", &delegation()),
        document("credential", &credential()),
        document("hold_grant", &grant()),
        document("receipt", &receipt()),
        document(
            "command_transfer",
            &command(CommandBody::Transfer {
                to: AccountId([1; 32]),
                amount: MicroCpt(5),
                memo: "hi".into(),
            }),
        ),
        document(
            "command_hold",
            &command(CommandBody::Hold {
                hold: HoldId([4; 16]),
                lease: LeaseId([5; 16]),
                payee: AccountId([7; 32]),
                amount: MicroCpt(5),
                expires: Timestamp(6),
            }),
        ),
        document(
            "command_capture",
            &command(CommandBody::Capture {
                receipt: countersigned(),
            }),
        ),
        document(
            "command_release",
            &command(CommandBody::Release {
                hold: HoldId([4; 16]),
            }),
        ),
        document(
            "command_invite",
            &command(CommandBody::Invite {
                invite: InviteId([1; 16]),
                secret_hash: Ticket::secret_hash(&[2; 16]),
                role: Role::Worker,
                score: 50,
                grant: MicroCpt::cpt(100),
                uses: 3,
                expires: Timestamp(7),
            }),
        ),
        document(
            "command_revoke_invite",
            &command(CommandBody::RevokeInvite {
                invite: InviteId([1; 16]),
            }),
        ),
        document("command_join", &command(join_body())),
        document(
            "command_delegate",
            &command(CommandBody::Delegate {
                delegation: Signed::sign(&key(3), &delegation()).unwrap(),
            }),
        ),
        document(
            "command_remove_node",
            &command(CommandBody::RemoveNode {
                node: NodeId([1; 32]),
            }),
        ),
        document(
            "command_set_score",
            &command(CommandBody::SetScore {
                account: AccountId([1; 32]),
                score: 100,
                reason: "vouched".into(),
            }),
        ),
        Sample {
            name: "ticket",
            bytes: ticket.to_string().into_bytes(),
            proto: None,
            again: |b| {
                let bad = |detail: String| CodecError::Malformed {
                    what: "ticket",
                    detail,
                };
                let text = std::str::from_utf8(b).map_err(|e| bad(e.to_string()))?;
                let ticket: Ticket = text
                    .parse()
                    .map_err(|e: hive_protocol::ticket::TicketError| bad(e.to_string()))?;
                // Capitals and surrounding white space are read and not written: compare by meaning.
                if ticket.to_string() == text {
                    Ok(b.to_vec())
                } else {
                    Err(bad("not canonical".into()))
                }
            },
            look: |_, _| (),
        },
        message(
            "member_hello",
            &Hello {
                network: NET,
                credential: Some(signed_credential()),
                listen: vec!["/ip4/127.0.0.1/tcp/4001".into()],
                version: "0.1.0".into(),
                now: Timestamp(5),
            },
        ),
        message(
            "member_verdict",
            &Verdict::Refused {
                code: "member.wrong_mesh".into(),
                detail: "mesh m_x".into(),
            },
        ),
        variant("member_verdict_welcome", &Verdict::Welcome),
        message(
            "join_request",
            &JoinRequest {
                command: Signed::sign(&key(3), &command(join_body())).unwrap(),
                now: Timestamp(5),
            },
        ),
        message(
            "join_reply",
            &JoinReply::Welcome {
                genesis: vec![1, 2, 3],
                credential: signed_credential(),
                peers: vec![(NodeId([1; 32]), vec!["/ip4/127.0.0.1/tcp/4001".into()])],
            },
        ),
        variant(
            "join_reply_refused",
            &JoinReply::Refused(Refusal::new("ticket.expired", "it ended an hour ago")),
        ),
        message(
            "demand",
            &Demand {
                id: DemandId([1; 16]),
                job: JobId([2; 16]),
                submitter: NodeId([3; 32]),
                credential: signed_credential(),
                addrs: vec!["/ip4/127.0.0.1/tcp/4001".into()],
                runtime: RuntimeKind::Wasm,
                need: Resources::cpu(1000, 256, 64),
                slots: 12,
                placement: Placement {
                    min_score: 50,
                    require_location: "eu".into(),
                    prefer_location: "eu-fra".into(),
                },
                max_price: MicroCpt(2000),
                issued: Timestamp(5),
                expires: Timestamp(30_005),
            },
        ),
        message(
            "presence",
            &Presence {
                node: NodeId([1; 32]),
                credential: signed_credential(),
                roles: vec![Role::Worker],
                capabilities: capabilities(),
                free: resources(),
                running: 2,
                addrs: vec![],
                leaving: false,
                issued: Timestamp(5),
            },
        ),
        message(
            "price_notice",
            &PriceNotice {
                node: NodeId([1; 32]),
                price: Price {
                    per_gfuel: MicroCpt(1000),
                },
                issued: Timestamp(5),
            },
        ),
        message(
            "work_frame",
            &frame(vec![
                WorkMsg::Offer(Box::new(Offer {
                    demand: DemandId([1; 16]),
                    slots: 2,
                    price: Price {
                        per_gfuel: MicroCpt(1000),
                    },
                    load_milli: 250,
                    capabilities: capabilities(),
                    free: resources(),
                    credential: signed_credential(),
                    expires: Timestamp(9),
                })),
                WorkMsg::LeaseAccept {
                    lease: LeaseId([5; 16]),
                    slots: 2,
                    price: Price {
                        per_gfuel: MicroCpt(1000),
                    },
                },
                WorkMsg::LeaseRefuse {
                    lease: LeaseId([5; 16]),
                    code: "lease.no_room".into(),
                    detail: "0 of 2 slots free".into(),
                },
                WorkMsg::Resume {
                    lease: LeaseId([5; 16]),
                    seen: 9,
                },
                WorkMsg::Unknown {
                    lease: LeaseId([5; 16]),
                },
                WorkMsg::Ack {
                    lease: LeaseId([5; 16]),
                    ack: 9,
                },
                WorkMsg::Log {
                    lease: LeaseId([5; 16]),
                    index: TaskIndex(1),
                    attempt: 1,
                    stderr: true,
                    bytes: b"half way\n".to_vec(),
                },
            ]),
        ),
        lease_request("work_frame_lease_request", RuntimeKind::Wasm),
        lease_request("work_frame_lease_request_container", RuntimeKind::Container),
        lease_request("work_frame_lease_request_process", RuntimeKind::Process),
        variant("work_frame_tasks", &lease(LeaseBody::Tasks(vec![order()]))),
        variant(
            "work_frame_cancel",
            &lease(LeaseBody::Cancel(vec![TaskIndex(1), TaskIndex(2)])),
        ),
        variant(
            "work_frame_countersign",
            &lease(LeaseBody::Countersign(Box::new(countersigned()))),
        ),
        variant(
            "work_frame_refuse_receipt",
            &lease(LeaseBody::RefuseReceipt {
                sequence: 3,
                code: "receipt.too_much".into(),
                detail: "fuel".into(),
            }),
        ),
        variant("work_frame_close", &lease(LeaseBody::Close)),
        variant(
            "work_frame_started",
            &lease(LeaseBody::Started(vec![(TaskIndex(1), 1)])),
        ),
        variant(
            "work_frame_results",
            &lease(LeaseBody::Results(vec![
                result(Outcome::Exited(0)),
                result(Outcome::Failed {
                    code: "task.fuel".into(),
                    detail: "out of fuel".into(),
                    retryable: false,
                }),
            ])),
        ),
        variant(
            "work_frame_receipt",
            &lease(LeaseBody::Receipt(Signed::sign(&key(2), &receipt()).unwrap())),
        ),
        variant(
            "work_frame_closed",
            &lease(LeaseBody::Closed {
                code: "lease.done".into(),
                detail: String::new(),
                owed: MicroCpt(5),
                hold: HoldId([4; 16]),
            }),
        ),
        variant(
            "work_frame_lease_log",
            &lease(LeaseBody::Log {
                index: TaskIndex(3),
                attempt: 1,
                stderr: true,
                bytes: b"line\n".to_vec(),
            }),
        ),
    ];
    all.extend(authority::all());
    all.extend(files::all());
    all
}
