//! The library of this build.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc_rs;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
mod ring;

#[cfg(feature = "aws-lc-rs")]
pub(crate) use self::aws_lc_rs::*;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(crate) use self::ring::*;
