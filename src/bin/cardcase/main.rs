//! The `cardcase` command.
fn main() {}
