//! Finding in an error what a server said by an alert.

use std::error::Error as StdError;
use std::io;

use rustls::AlertDescription;

use crate::answer::refusal::Refusal;

/// Finds the refusal in an error of rustls or of anything wrapped around it: I/O, an HTTP library, another client.
#[must_use]
pub fn refusal(error: &(dyn StdError + 'static)) -> Option<Refusal> {
    alert(error).and_then(Refusal::of_alert)
}

/// The alert the other side sent, in an error of rustls or of anything wrapped around it.
#[must_use]
pub fn alert(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    find(error, &|rustls| match rustls {
        rustls::Error::AlertReceived(alert) => Some(alert),
        _ => None,
    })
    .copied()
}

/// Looks through a chain of errors for a rustls one. I/O errors and ureq's hide what they wrap from `source()`.
pub(crate) fn find<'a, T: ?Sized>(
    error: &'a (dyn StdError + 'static),
    look: &dyn Fn(&'a rustls::Error) -> Option<&'a T>,
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref().and_then(look) {
            return Some(found);
        }
        #[cfg(feature = "ureq")]
        if let Some(ureq::Error::Io(inner)) = error.downcast_ref() {
            next = Some(inner);
            continue;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_however_deep() {
        let wrap = |alert| {
            let error = rustls::Error::AlertReceived(alert);
            io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let unknown_ca = wrap(AlertDescription::UnknownCA);
        assert_eq!(refusal(&unknown_ca), Some(Refusal::Alert(AlertDescription::UnknownCA)));
        assert!(crate::connect::resolver::needs(&unknown_ca).is_none());
        let internal = wrap(AlertDescription::InternalError);
        assert_eq!((alert(&internal), refusal(&internal)), (Some(AlertDescription::InternalError), None));
        assert_eq!(refusal(&io::Error::from(io::ErrorKind::BrokenPipe)), None);
    }
}
