//! The `cardcase` command.

// The floors of the command: each uses only those above it. The empty lines keep rustfmt from sorting them by name

mod cli;

mod completion;

mod help;

mod hardening;

mod cleanup;

mod ui;

mod usage;

#[cfg(openssl_at_need)]
mod openssl_at_need;

mod input;

mod new_file;

mod nss_tool;

mod profiles;

mod pkcs11;

mod ask;

mod app;

mod agent;

mod key_file;

mod http;

mod tunnel;

mod commands;

use std::process::ExitCode;

use cardcase::ask::terminal;

use app::App;
use ask::signals;
use cli::{Cli, Color, Command, WithoutStore};
use ui::failure::{Code, Failure};
use ui::named_store;
use ui::say::{self, Volume};
use usage::Typed;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == completion::COMMAND) {
        completion::answer(arguments);
        return ExitCode::SUCCESS;
    }
    let private = hardening::keep_memory_private();
    hardening::survive_file_size_limit();
    let Typed { cli: Cli { common, command }, names_store } = match usage::read() {
        Ok(typed) => typed,
        Err(code) => return code,
    };
    match common.color {
        Color::Auto if std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) => {}
        when => {
            console::set_colors_enabled(when == Color::Always);
            console::set_colors_enabled_stderr(when == Color::Always);
        }
    }
    let volume = match &command {
        Some(Command::Fetch(fetch)) if fetch.silent && !fetch.show_error => Volume::Nothing,
        Some(Command::Fetch(fetch)) if fetch.silent => Volume::Errors,
        _ if common.quiet => Volume::Errors,
        _ => Volume::Normal,
    };
    say::set_volume(volume, common.verbose);
    if common.plain {
        terminal::set_plain();
    }
    if let Some(path) = common.store.as_deref().filter(|_| names_store) {
        named_store::set(path);
    }
    // The agent has no terminal, and handles signals itself
    if !matches!(command, Some(Command::Agent)) {
        signals::restore_terminal_on_signals();
    }
    let may_ask_here = !common.batch && common.chooser().is_none();
    let without_store = command.as_ref().map_or(WithoutStore::Leave, Command::without_store);
    let app = App::new(common, names_store, without_store);
    if let Err(error) = private {
        say::warn(format_args!(
            "a core dump or another of your processes could read the memory of this process: {error}"
        ));
    }
    // The commands listed here connect: they may ask in several threads, and run for a long time
    let is_short = !matches!(
        command,
        Some(Command::Explain(_) | Command::Fetch(_) | Command::Tunnel(_) | Command::Credential(_) | Command::Agent)
    );
    let done = if is_short { terminal::quietly(false, || run(&app, command)) } else { run(&app, command) };
    app.finish();
    app.tell_damage();
    match done {
        Ok(code) => code,
        Err(failure) if may_ask_here && failure.code == Code::NobodyToAsk && terminal::is_in_background() => {
            report(&failure.hint("run it in the foreground: a process in the background cannot ask"))
        }
        Err(failure) => report(&failure),
    }
}

fn run(app: &App, command: Option<Command>) -> Result<ExitCode, Failure> {
    let Some(command) = command else { return commands::overview::run(app).map(|()| ExitCode::SUCCESS) };
    let done = match command {
        // These say with their exit code what they found
        Command::Doctor => return commands::doctor::run(app),
        Command::Expires(args) => return commands::expires::run(app, &args),
        Command::Where => commands::location::run(app),
        Command::Import(args) => commands::import::run(app, &args),
        Command::List(args) => commands::list::run(app, &args),
        Command::Show(args) => commands::show::run(app, &args),
        Command::Export(args) => commands::export::run(app, &args),
        Command::Backup(args) => commands::backup::run(app, &args),
        Command::Restore(args) => commands::restore::run(app, &args),
        Command::Enroll(args) => commands::enroll::run(app, &args),
        Command::Rename(args) => commands::rename::run(app, &args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
        Command::Remove(args) => commands::remove::run(app, &args),
        Command::Decisions => commands::decisions::run(app),
        Command::Remember(args) => commands::remember::run(app, &args),
        Command::Forget(args) => commands::forget::run(app, &args),
        Command::Renew(args) => commands::renew::run(app, &args),
        Command::Rules(args) => commands::rules::run(app, &args),
        Command::Config(args) => commands::config::run(app, &args),
        Command::Pkcs11(args) => commands::pkcs11::run(app, &args),
        Command::MinTls(args) => commands::min_tls::run(app, &args),
        Command::Explain(args) => commands::explain::run(app, &args),
        Command::Fetch(args) => commands::fetch::run(app, &args),
        Command::Tunnel(args) => commands::tunnel::run(app, &args),
        Command::Credential(args) => commands::credential::run(app, &args),
        Command::Trust(args) => commands::trust::run(app, &args),
        Command::Authorities => commands::authorities::run(app),
        Command::History(args) => commands::history::run(app, &args),
        Command::Accept => commands::accept::run(app),
        Command::Unlock(args) => commands::unlock::run(app, &args),
        Command::Lock => commands::lock::run(app),
        Command::Agent => commands::agent::run(app),
        Command::Password(args) => commands::password::run(app, &args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn report(failure: &Failure) -> ExitCode {
    failure.tell();
    ExitCode::from(failure.code as u8)
}
