//! The login of `fetch --user`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::terminal;
use crate::cli::Fetch;
use crate::ui::failure::{Code, Failure};

/// The password of `--user`. A name that ends with a colon has an empty one, as in curl.
pub(super) fn password(app: &App, args: &Fetch, user: &str) -> Result<Zeroizing<String>, Failure> {
    match (user.split_once(':'), &args.password_file) {
        (Some((_, "")), None) => Ok(Zeroizing::default()),
        (Some(_), _) => {
            let why = match user.ends_with(':') {
                true => "-u USER: means an empty password, and --password-file gives another",
                false => "-u takes no password: other users of this machine could see it",
            };
            Err(Failure::usage(why)
                .hint("give the name alone, and type the password when asked, or: --password-file FILE"))
        }
        (None, Some(file)) => app.input.read_password(file),
        (None, None) if app.can_ask() => terminal::password(&format!("Password of {user}")),
        (None, None) => {
            let why = format!("{user:?} needs a password, and nobody can be asked for it");
            Err(Failure::new(Code::NobodyToAsk, why).hint("give it in a file: --password-file FILE"))
        }
    }
}

/// HTTP Basic authentication (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, Failure> {
    let user = user.trim_end_matches(':');
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let text = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|error| Failure::new(Code::Failed, error))?;
    value.set_sensitive(true);
    Ok(value)
}
