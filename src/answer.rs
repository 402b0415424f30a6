//! What may answer a certificate request, as plain data.

pub(crate) mod decision;
pub(crate) mod history;
pub(crate) mod policy;
pub(crate) mod refusal;
pub(crate) mod rules;
pub(crate) mod settings;
