//! `cardcase fetch`

use cardcase::ask::Dialogs;
use url::Url;

use crate::app::App;
use crate::cleanup;
use crate::cli::Fetch;
use crate::http::body::{Output, WriteError};
use crate::http::client::{Client, Response};
use crate::http::location;
use crate::http::message::Message;
use crate::ui::failure::{Code, Failure};

pub(crate) fn run(app: &App, args: &Fetch) -> Result<(), Failure> {
    let url = location::parse(&args.url)?;
    let message = Message::new(app, args)?;
    let client = Client::new(app, args, &url, &message)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    let work = async {
        let response = client.fetch(url.clone(), message).await?;
        print(&client, response, args).await
    };
    let Some(limit) = args.max_time.filter(|limit| !limit.is_zero()) else { return runtime.block_on(work) };
    runtime.block_on(async { tokio::time::timeout(limit, work).await }).unwrap_or_else(|_| {
        Failure::new(Code::Failed, format_args!("{url}: not complete within {limit:?} (--max-time)")).tell();
        // A prompt may wait for a person, on a thread that cannot be ended
        Dialogs::close_all();
        cleanup::run_all();
        std::process::exit(Code::Failed as i32)
    })
}

/// Prints a response, which may be a page that refuses.
async fn print(client: &Client<'_>, mut response: Response, args: &Fetch) -> Result<(), Failure> {
    let mut out = Output::open(args.output.as_deref(), &response.head.headers)?;
    if args.include {
        out.write_head(&response.head)?;
    }
    let written = write_body(client, &mut response, &mut out).await;
    let url = response.url().clone();
    match written {
        Err(WriteError::Failed(failure)) => Err(failure),
        Err(WriteError::NotText) => client.finish(response).and(Err(not_text(&url))),
        Ok(()) => client.finish(response),
    }
}

async fn write_body(client: &Client<'_>, response: &mut Response, out: &mut Output) -> Result<(), WriteError> {
    while !out.is_closed() {
        let pieces = client.read(response).await?;
        if pieces.is_empty() {
            break;
        }
        out.write(&pieces)?;
    }
    out.finish()
}

fn not_text(url: &Url) -> Failure {
    Failure::new(Code::Failed, format_args!("{url}: the response is not text, and was not written to the terminal"))
        .hint("to save it: -o FILE; to write it to the terminal anyway: -o -")
}
