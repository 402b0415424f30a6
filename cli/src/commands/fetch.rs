//! `cardcase fetch`

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cardcase::ask::Dialogs;
use url::Url;

use crate::app::App;
use crate::cleanup;
use crate::cli::Fetch;
use crate::http::body::{Output, WriteError};
use crate::http::client::{Client, Response};
use crate::http::decompress::Body;
use crate::http::location;
use crate::http::message::Message;
use crate::ui::failure::{Code, Failure};

pub(crate) fn run(app: &App, args: &Fetch) -> Result<(), Failure> {
    let url = location::parse(&args.url)?;
    if let Some(limit) = args.max_time.filter(|limit| !limit.is_zero()) {
        end_after(limit, &url)?;
    }
    let message = Message::new(app, args)?;
    let client = Client::new(app, args, &url, &message)?;
    // Nobody is asked for a password before everything else is in order
    let message = message.logged_in(app, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    runtime.block_on(async {
        let response = client.fetch(url, message).await?;
        print(&client, response, args).await
    })
}

/// How long the last message may take: nobody may be reading stderr.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Ends the process after this time, whatever it waits for then: a person, a pipe, or a server.
fn end_after(limit: Duration, url: &Url) -> Result<(), Failure> {
    let failure = Failure::new(Code::Failed, format_args!("{url}: not complete within {limit:?} (--max-time)"));
    let end = move || {
        thread::sleep(limit);
        let (told, is_told) = mpsc::channel();
        let tell = move || {
            failure.tell();
            let _ = told.send(());
        };
        if thread::Builder::new().spawn(tell).is_ok() {
            let _ = is_told.recv_timeout(LAST_WORDS);
        }
        Dialogs::close_all();
        cleanup::run_all();
        std::process::exit(Code::Failed as i32)
    };
    thread::Builder::new().spawn(end).map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(())
}

/// Prints a response, which may be a page that refuses.
async fn print(client: &Client<'_>, mut response: Response, args: &Fetch) -> Result<(), Failure> {
    let (url, status) = (response.url().clone(), response.head.status);
    let mut out = Output::open(args.output.as_deref(), &response.head.headers)?;
    if args.include || args.head {
        out.write_head(&response.head)?;
    }
    if args.fail && status.as_u16() >= 400 {
        let failure = Failure::new(Code::Failed, format_args!("{url}: the server answered {status} (--fail)"));
        return client.finish(response).and(Err(failure));
    }
    if args.head {
        return client.finish(response);
    }
    let body = match args.compressed {
        true => Body::decompressed(out, &response.head.headers),
        false => Ok(Body::plain(out)),
    };
    let mut body = match body {
        Ok(body) => body,
        Err(failure) => return client.finish(response).and(Err(failure)),
    };
    match write_body(client, &mut response, &mut body).await {
        Err(WriteError::Failed(failure)) => Err(response.refused().unwrap_or(failure)),
        Err(WriteError::NotText) => client.finish(response).and(Err(not_text(&url))),
        Ok(()) => client.finish(response),
    }
}

async fn write_body(client: &Client<'_>, response: &mut Response, body: &mut Body) -> Result<(), WriteError> {
    while !body.is_closed() {
        let pieces = client.read(response).await?;
        if pieces.is_empty() {
            return body.finish();
        }
        body.write(&pieces)?;
    }
    Ok(())
}

fn not_text(url: &Url) -> Failure {
    Failure::new(Code::Failed, format_args!("{url}: the response is not text, and was not written to the terminal"))
        .hint("to save it: -o FILE; to write it to the terminal anyway: -o -")
}
