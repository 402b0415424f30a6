//! The same where OpenSSL is not built in: nothing of it can exist.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cardcase::Selector;
use cardcase::Target;
use cardcase::connect::{Error, Opened};
use cardcase::raw::Prepared;
use rustls::ProtocolVersion;

use crate::app::App;
use crate::http::dial::BoxStream;
use crate::ui::failure::Failure;

/// Whether this cardcase has it.
pub(crate) const BUILT_IN: bool = false;

pub(crate) struct Connector(Infallible);

pub(crate) struct Connection {
    pub(crate) stream: BoxStream,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) later: Later,
}

pub(crate) struct Later {
    pub(crate) target: Target,
    pub(crate) opened: Opened,
}

impl Later {
    pub(crate) fn finished(&self) {}
}

impl Connector {
    pub(crate) fn new(_: &App, _: Arc<Selector>, _: Option<&Path>) -> Result<Self, Failure> {
        let failure = Failure::usage("--tls openssl: this cardcase is built without OpenSSL");
        Err(failure.hint("cargo install cardcase --features openssl"))
    }

    pub(crate) async fn connect<F>(
        &self,
        _: &Target,
        _: Option<Prepared>,
        _: impl FnMut() -> F,
    ) -> Result<Connection, Error>
    where
        F: Future<Output = io::Result<BoxStream>>,
    {
        match self.0 {}
    }
}
