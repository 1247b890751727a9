//! The laboratory's routers are what they claim to be: measured through the kernel's own NAT. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use hive_natlab::{Lab, Plan, measure};
use std::path::Path;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netsim"))
}

fn measured(prefix: &str, text: &str) -> String {
    let plan: Plan = text.parse().unwrap();
    let lab = Lab::raise(prefix, plan).unwrap();
    measure(&lab, "a", "relay", program()).unwrap()
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn every_kind_is_as_claimed() {
    let output = std::process::Command::new(program())
        .args(["nat", "kinds"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.matches(" as claimed").count(), 6, "{said}");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn of_two_nats_in_a_row_the_stricter_one_shows() {
    let seen = measured(
        "hvt",
        "net wan 203.0.113.0/24
         host relay wan
         router isp full-cone wan mid 100.64.0.0/24
         router home symmetric mid lan 192.168.1.0/24
         host a lan",
    );
    assert_eq!(
        seen,
        "mapping EndpointDependent, filtering AddressAndPortDependent"
    );
    let seen = measured(
        "hvu",
        "net wan 203.0.113.0/24
         host relay wan
         router isp full-cone wan mid 100.64.0.0/24
         router home full-cone mid lan 192.168.1.0/24 rate=50mbit
         host a lan",
    );
    assert_eq!(seen, "mapping EndpointIndependent, filtering EndpointIndependent");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_host_can_move_and_a_laboratory_leaves_nothing_behind() {
    let plan = "net wan 203.0.113.0/24
         host relay wan
         router home port-restricted wan lan 192.168.1.0/24
         host a lan";
    let mut lab = Lab::raise("hvm", plan.parse().unwrap()).unwrap();
    let before = measure(&lab, "a", "relay", program()).unwrap();
    lab.change_address("a", "192.168.1.77".parse().unwrap()).unwrap();
    assert_eq!(lab.address("a").unwrap().to_string(), "192.168.1.77");
    assert_eq!(measure(&lab, "a", "relay", program()).unwrap(), before);
    drop(lab);
    let left = std::process::Command::new("ip")
        .args(["netns", "list"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("hvm-"));
}
