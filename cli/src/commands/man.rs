//! `cardcase man`

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man as Page;

use crate::cli::Man;
use crate::help;
use crate::ui::failure::Failure;
use crate::ui::stdout::print;

/// When the texts of this file were last changed, which the header of a page shows.
const DATE: &str = "2026-11-28";

const EXIT_STATUS: [(&str, &str); 8] = [
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "Usage."),
    ("3", "The server asked and no identity fits, or ID or HOST names nothing stored."),
    ("4", "An answer was needed and nobody could be asked."),
    ("5", "The server refused the identity, or refused because none was sent."),
    ("6", "Wrong password."),
    ("130", "Interrupted."),
];

/// Environment variables without a flag.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("NO_COLOR, CLICOLOR_FORCE", "Turn colours off, or on where stdout is no terminal."),
    ("PINENTRY_PROGRAM", "The program that asks for the primary password, as with GnuPG."),
    ("https_proxy, HTTPS_PROXY", "The proxy for https."),
    ("http_proxy", "The proxy for http."),
    ("all_proxy, ALL_PROXY", "The proxy where the others name none."),
    ("no_proxy, NO_PROXY", "Hosts, domains, addresses and networks that are reached without a proxy."),
    ("XDG_DATA_HOME", "Where the directory cardcase with the store is; ~/.local/share by default."),
    ("XDG_RUNTIME_DIR", "Where sockets, and keys for other programs, are until logout."),
    ("TZ", "The time zone of what is shown."),
];

const FILES: [(&str, &str); 3] = [
    ("~/.local/share/cardcase/cardcase.db", "The store."),
    ("/etc/cardcase/policies/managed/*.json", "The administrator's rules."),
    ("/etc/localtime", "The time zone, if TZ is not set."),
];

/// Writes every page to a directory, or one after another to stdout.
pub(crate) fn run(args: &Man) -> Result<(), Failure> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let names = names(&command);
    let to_stdout = args.directory == Path::new("-");
    let mut all = String::new();
    for page in commands(&command) {
        let text = page_of(page, &names).map_err(|error| Failure::io(&args.directory, &error))?;
        if to_stdout {
            all.push_str(&text);
            continue;
        }
        let file = args.directory.join(format!("{}.1", name(page)));
        fs::write(&file, text).map_err(|error| Failure::io(&file, &error))?;
    }
    print(&all)
}

/// A command and those below it that are not hidden.
fn commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set()).flat_map(commands);
    std::iter::once(command).chain(below).collect()
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn names(command: &Command) -> Vec<String> {
    commands(command).into_iter().map(|each| name(each).to_owned()).collect()
}

fn page_of(command: &Command, names: &[String]) -> io::Result<String> {
    let page = Page::new(command.clone())
        .title(name(command).to_uppercase())
        .section("1")
        .date(DATE)
        .source(concat!("cardcase ", env!("CARGO_PKG_VERSION")))
        .manual("Cardcase Manual");
    let mut roff = Vec::new();
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    page.render_synopsis_section(&mut roff)?;
    page.render_description_section(&mut roff)?;
    page.render_options_section(&mut roff)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        page.render_subcommands_section(&mut roff)?;
    }
    let mut text = String::from_utf8_lossy(&roff).into_owned();
    push_list(&mut text, "EXIT STATUS", &EXIT_STATUS);
    let flags = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
        let variable = arg.get_env()?.to_str()?;
        Some((variable.to_owned(), format!("As --{}.", arg.get_long()?)))
    });
    let flags: Vec<_> = flags.collect();
    let flags = flags.iter().map(|(variable, meaning)| (variable.as_str(), meaning.as_str()));
    push_list(&mut text, "ENVIRONMENT", &flags.chain(ENVIRONMENT).collect::<Vec<_>>());
    push_list(&mut text, "FILES", &FILES);
    push_examples(&mut text, command);
    push_see_also(&mut text, name(command), names);
    Ok(tidied(&text))
}

/// The text as mandoc wants it: without empty paragraphs, with lines of at most 80 bytes, and without the preamble that
/// clap_mangen repeats in each section.
fn tidied(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let (mut is_tag, mut is_verbatim) = (false, false);
    for line in text.lines().map(str::trim_end) {
        let last = lines.last().map(String::as_str);
        let is_paragraph = |line: &str| [".br", ".sp", ".PP"].contains(&line);
        let repeats = (line.starts_with(".ie ") || line.starts_with(".el ")) && lines.iter().any(|each| each == line);
        if line.is_empty() || repeats || (line == ".br" && last.is_some_and(is_paragraph)) {
            continue;
        }
        if line == ".sp" && last == Some(".br") {
            lines.pop();
        }
        match line.starts_with('.') || is_tag || is_verbatim {
            true => lines.push(line.to_owned()),
            false => push_filled(&mut lines, line),
        }
        is_tag = line == ".TP";
        is_verbatim = (is_verbatim || line == ".nf") && line != ".fi";
    }
    lines.join("\n") + "\n"
}

/// Breaks a line between words.
fn push_filled(lines: &mut Vec<String>, text: &str) {
    const WIDTH: usize = 78;
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        } else if word.starts_with(['.', '\'']) && !lines.is_empty() {
            line.push_str("\\&");
        }
        line.push_str(word);
    }
    lines.push(line);
}

fn push_list(text: &mut String, heading: &str, rows: &[(&str, &str)]) {
    text.push_str(&format!(".SH {heading}\n"));
    for (term, meaning) in rows {
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(meaning)));
    }
}

/// The examples of the help.
fn push_examples(text: &mut String, command: &Command) {
    let Some(help) = command.get_after_help().map(ToString::to_string) else { return };
    let lines: Vec<&str> = help.lines().filter(|line| !line.trim().is_empty()).collect();
    let Some(start) = lines.iter().position(|line| line.starts_with("Examples")) else { return };
    text.push_str(".SH EXAMPLES\n.nf\n");
    for line in lines.iter().skip(start + 1) {
        text.push_str(&format!("{}\n", escaped(line.trim())));
    }
    text.push_str(".fi\n");
}

fn push_see_also(text: &mut String, own: &str, names: &[String]) {
    text.push_str(".SH SEE ALSO\n");
    let pages = names.iter().filter(|name| *name != own).map(|name| format!("\\fB{}\\fR(1)", escaped(name)));
    let others = ["curl", "openssl"].map(|name| format!("\\fB{name}\\fR(1)"));
    let pages: Vec<String> = pages.chain(others).collect();
    text.push_str(&pages.join(",\n"));
    text.push('\n');
}

/// Text for roff, which has a meaning for backslashes, hyphens, and dots and quotes at the start of a line.
fn escaped(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti").replace('\'', "\\(aq");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}
