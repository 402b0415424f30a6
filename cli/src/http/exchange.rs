//! The certificate requests of a server during one HTTP exchange.

use cardcase::Destination;
use cardcase::connect::Opened;
use cardcase::raw::Prepared;

use crate::http::outcome::{Asked, Outcomes};

/// The certificate requests on the connection of an exchange.
#[derive(Default)]
pub(crate) struct Requests {
    /// `None` for plain HTTP.
    opened: Option<Opened>,
    /// The last request whose outcome is not recorded yet.
    pub(crate) pending: Option<Asked>,
    /// How many requests were announced.
    announced: usize,
}

impl Requests {
    pub(crate) fn new(opened: Option<Opened>) -> Self {
        Self { opened, ..Self::default() }
    }

    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.as_ref()
    }

    pub(crate) fn destination(&self) -> Option<&Destination> {
        self.opened.as_ref().map(Opened::destination)
    }

    /// Announces the requests that have arrived since the last call. A server that asks again has accepted the answer before.
    pub(crate) fn catch_up(&mut self, outcomes: &Outcomes) {
        let answers = self.opened.as_ref().map_or(Vec::new(), Opened::answers);
        for asked in answers.into_iter().skip(self.announced).filter_map(Asked::from_opened) {
            self.accepted(outcomes);
            self.announced += 1;
            outcomes.announce(&asked);
            self.pending = Some(asked);
        }
    }

    /// Records that the server accepted its last answer, if that is not recorded yet.
    pub(crate) fn accepted(&mut self, outcomes: &Outcomes) {
        if let Some(asked) = self.pending.take() {
            outcomes.accepted(&asked);
        }
    }

    /// The last answer, if a person chose it.
    pub(crate) fn chosen(&self) -> Option<Prepared> {
        Asked::from_opened(self.opened.clone()?)?.chosen()
    }
}
