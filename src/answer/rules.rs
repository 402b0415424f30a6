//! Rules: answers given in advance, in the form of Chrome's policy AutoSelectCertificateForUrls.

mod filter;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod in_force;
mod json;
mod path;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;

pub(crate) use in_force::{InForce, Rules};
pub(super) use json::read as read_json;
pub use rule::Rule;
