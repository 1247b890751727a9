//! Tickets that do not admit: each with its name, and the node stays as it was.

use crate::{
    mesh::{Mesh, free_port},
    node::Node,
    wait::{SOON, until},
};
use hive_protocol::{ids::NetworkId, ticket::Ticket};

struct Stranger {
    node: Node,
}

impl Stranger {
    fn new(mesh: &Mesh) -> Self {
        let mut node = Node::new(&mesh.path(".."), "stranger");
        node.start();
        Self { node }
    }
    #[track_caller]
    fn refused(&self, ticket: &str, exit: i32, code: &str) -> String {
        let said = self.node.run(&["up", ticket]).fails(exit, code);
        assert_eq!(self.node.status()["state"], "unjoined");
        said.talk()
    }
}

#[test]
fn a_torn_or_mistyped_ticket_is_damaged() {
    let mesh = Mesh::of(0);
    let stranger = Stranger::new(&mesh);
    let ticket = mesh.ticket("worker", 0);
    stranger.refused(&ticket[..ticket.len() - 7], 2, "ticket.damaged");
    let mut wrong = ticket.clone().into_bytes();
    let at = wrong.len() / 2;
    wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
    stranger.refused(&String::from_utf8(wrong).unwrap(), 2, "ticket.damaged");
    stranger.refused("https://example.org", 2, "ticket.not_a_ticket");
    stranger
        .node
        .run(&["up", &ticket, "--role", "client"])
        .fails(2, "ticket.other_role");
    // Whole it still admits, line breaks of a mail included.
    let (head, tail) = ticket.split_at(30);
    stranger.node.run(&["up", &format!("{head}\n  {tail}\n")]).ok();
}

#[test]
fn expired_used_and_revoked_tickets_are_told_apart() {
    let mesh = Mesh::of(0);
    let stranger = Stranger::new(&mesh);
    let short = mesh.authority.json("invite", &["invite", "--ttl", "1s"]);
    let expires = short["expires"].as_u64().unwrap();
    until("the ticket has expired", SOON, || {
        (mesh.authority.get("/v1/status", "status")?["now"].as_u64()? > expires).then_some(())
    });
    stranger.refused(short["ticket"].as_str().unwrap(), 4, "ticket.expired");

    let gone = mesh.authority.json("invite", &["invite", "--grant", "5"]);
    mesh.authority
        .run(&["invite", "rm", gone["invite"].as_str().unwrap()])
        .ok();
    stranger.refused(gone["ticket"].as_str().unwrap(), 4, "ticket.revoked");

    let once = mesh.ticket("worker", 7);
    let mut first = Node::new(&mesh.path(".."), "first");
    first.start();
    first.run(&["up", &once]).ok();
    stranger.refused(&once, 4, "ticket.used");
    // The one who has used it may say so again, and is not paid twice.
    first.run(&["up", &once]).ok();
    assert_eq!(first.wallet()["available"], 7_000_000);
    mesh.adds_up();
}

#[test]
fn a_ticket_of_another_mesh_is_refused_on_both_sides() {
    let mesh = Mesh::of(1);
    let mut other = Node::new(&mesh.path(".."), "other");
    other.start();
    other.run(&["mesh", "create", "elsewhere"]).ok();
    let foreign = other.json("invite", &["invite"])["ticket"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = mesh.workers[0]
        .run(&["up", &foreign])
        .fails(1, "ticket.wrong_mesh");
    assert!(
        said.talk().contains("elsewhere") && said.talk().contains("lab"),
        "{}",
        said.talk()
    );
    assert_eq!(mesh.workers[0].status()["mesh"]["name"], "lab");
    other.run(&["mesh", "create", "third"]).fails(1, "mesh.member");

    // A ticket that leads to this authority and names another network.
    let stranger = Stranger::new(&mesh);
    let mut forged: Ticket = mesh.ticket("worker", 0).parse().unwrap();
    forged.network = NetworkId([7; 32]);
    stranger.refused(&forged.to_string(), 4, "join.wrong_mesh");
    // One with a secret nobody gave out.
    let mut guessed: Ticket = mesh.ticket("worker", 0).parse().unwrap();
    guessed.secret = [9; 16];
    stranger.refused(&guessed.to_string(), 4, "ticket.unknown");
}

#[test]
fn an_authority_that_does_not_answer_is_named() {
    let mesh = Mesh::of(0);
    let stranger = Stranger::new(&mesh);
    let mut nowhere: Ticket = mesh.ticket("worker", 0).parse().unwrap();
    let port = free_port();
    for (_, addr) in &mut nowhere.bootstrap {
        *addr = format!("/ip4/127.0.0.1/tcp/{port}");
    }
    stranger.refused(&nowhere.to_string(), 5, "join.unreachable");
}
