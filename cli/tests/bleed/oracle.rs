//! The person that the selectors of this test ask: answers as the test has said before.

use std::collections::HashMap;
use std::sync::Mutex;

use cardcase::Chooser;
use cardcase::ask::{Question, Reply};
use cardcase::manage::Lifetime;

use crate::world::{Place, Who};

/// The prepared answers. Any other question is aborted, and the connection fails.
#[derive(Debug, Default)]
pub struct Oracle(Mutex<HashMap<Place, (Who, Lifetime)>>);

impl Oracle {
    pub fn will_answer(&self, place: &Place, who: Who, lifetime: Lifetime) {
        self.0.lock().unwrap().insert(place.clone(), (who, lifetime));
    }

    pub fn will_not_answer(&self, place: &Place) {
        self.0.lock().unwrap().remove(place);
    }
}

impl Chooser for Oracle {
    fn choose(&self, question: &Question<'_>) -> Reply {
        let place = Place::of(question.mode, question.destination);
        let Some((who, lifetime)) = self.0.lock().unwrap().get(&place).copied() else { return Reply::Abort };
        let Some(who) = who else { return Reply::None { lifetime } };
        let candidate = question.candidates().find(|candidate| candidate.identity.fingerprint() == who);
        candidate.map_or(Reply::Abort, |candidate| Reply::Identity { identity: candidate.identity, lifetime })
    }
}
