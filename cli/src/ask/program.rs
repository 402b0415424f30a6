//! A program as chooser, and what the command says about it on stderr.

use cardcase::ask::{Dialogs, Question, Reply};
use cardcase::{Chooser, Destination};

use crate::ui::say;

/// Dialogs that ask a program which identity to send.
pub(crate) struct ProgramChooser(pub(crate) Dialogs);

impl Chooser for ProgramChooser {
    fn waiting(&self, destination: &Destination) {
        say::note(format_args!("waiting: another cardcase is asking about {destination}"));
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        let reply = self.0.choose(question);
        if let Reply::Failed { reason } = &reply {
            say::warn(format_args!("the chooser {reason}"));
        }
        reply
    }
}
