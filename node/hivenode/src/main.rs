//! The hivenode binary.
fn main() {}
