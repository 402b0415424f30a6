//! `cardcase fetch`

use crate::app::App;
use crate::cleanup;
use crate::cli::Fetch;
use crate::http::body::{Output, head_bytes};
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
        Failure::new(Code::Failed, format_args!("{url}: not complete within {} s (--max-time)", limit.as_secs_f64()))
            .tell();
        // A prompt may wait for a person, on a thread that cannot be ended
        cleanup::run_all();
        std::process::exit(Code::Failed as i32)
    })
}

/// Prints a response, which may be a page that refuses.
async fn print(client: &Client<'_>, mut response: Response, args: &Fetch) -> Result<(), Failure> {
    let mut out = Output::open(args.output.as_deref())?;
    if args.include {
        let head = &response.head;
        out.write(&head_bytes(head.version, head.status, &head.headers))?;
    }
    while !out.is_closed() {
        match client.read(&mut response).await? {
            Some(data) => out.write(&data)?,
            None => break,
        }
    }
    out.finish()?;
    client.finish(response)
}
