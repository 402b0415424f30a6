//! The help texts: commands in groups, and examples. Everything else comes from the flags in `cli`.

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// A command, and how it is called. The tests run every example, on a store with the identities that are named.
type Entry = (&'static str, &'static [&'static str]);

/// Every command, in exactly one group.
const GROUPS: [(&str, &[Entry]); 6] = [
    (
        "Your certificates",
        &[
            (
                "import",
                &[
                    "cardcase import alice.p12",
                    "cardcase import alice.pem alice.key --name 'Alice at work'",
                    "cardcase import --renew alice-new.p12",
                ],
            ),
            ("list", &["cardcase list", "cardcase list --for intranet.example.com", "cardcase list --json"]),
            ("show", &["cardcase show alice", "cardcase show alice --pem > alice-chain.pem"]),
            ("expires", &["cardcase expires --within 2w", "cardcase expires --within 12h --json"]),
            (
                "export",
                &[
                    "cardcase export alice -o alice-copy.p12 --password-file password",
                    "cardcase export alice -o old.p12 --legacy --password-file password",
                ],
            ),
            (
                "enroll",
                &[
                    "cardcase enroll --subject 'CN=Alice Example,O=Example Ltd' -o alice.csr",
                    "cardcase enroll --subject 'CN=Build' --key ec-p384 -o build.csr",
                ],
            ),
            ("renew", &["cardcase renew alice-2025 alice", "cardcase import --renew alice-new.p12"]),
            ("rename", &["cardcase rename alice 'Alice at work'", "cardcase rename bob robert"]),
            ("remove", &["cardcase remove bob --yes", "cardcase rm alice-2025 bob --yes"]),
        ],
    ),
    (
        "Use them",
        &[
            (
                "fetch",
                &[
                    "cardcase fetch https://intranet.example.com/",
                    "cardcase fetch intranet.example.com/report -o report.html",
                    "cardcase fetch intranet.example.com/orders -H 'X-Test: 1' -d '{}'",
                ],
            ),
            (
                "explain",
                &[
                    "cardcase explain intranet.example.com",
                    "cardcase explain intranet.example.com/admin --request",
                    "cardcase explain intranet.example.com --json",
                ],
            ),
            (
                "tunnel",
                &["cardcase tunnel intranet.example.com", "cardcase tunnel intranet.example.com --listen 127.0.0.1:0"],
            ),
            (
                "credential",
                &[
                    "curl $(cardcase credential curl $HOST) https://$HOST/",
                    "cardcase credential kubectl intranet.example.com",
                    "cardcase credential curl intranet.example.com && cardcase credential --forget",
                ],
            ),
        ],
    ),
    (
        "What goes where",
        &[
            ("decisions", &["cardcase decisions", "cardcase decisions --json"]),
            (
                "remember",
                &[
                    "cardcase remember intranet.example.com alice",
                    "cardcase remember tracker.example none",
                    "cardcase remember intranet.example.com bob --for session",
                ],
            ),
            ("forget", &["cardcase forget intranet.example.com", "cardcase forget --all"]),
            (
                "rules",
                &[
                    "cardcase rules",
                    "cardcase rules add '[*.]example.com' --issuer 'CN=Example CA'",
                    "cardcase rules add https://tracker.example --deny",
                ],
            ),
            ("config", &["cardcase config", "cardcase config mode chrome", "cardcase config use-single-candidate on"]),
            (
                "pkcs11",
                &[
                    "cardcase pkcs11 allow alice tls",
                    "cardcase pkcs11 install --print --module module.so",
                    "cardcase pkcs11 status",
                ],
            ),
            ("min-tls", &["cardcase min-tls alice 1.3", "cardcase min-tls alice 1.2"]),
            ("history", &["cardcase history", "cardcase history intranet.example.com --json"]),
        ],
    ),
    (
        "Which servers to trust",
        &[
            ("trust", &["cardcase trust CA.pem", "cardcase trust server.pem"]),
            ("authorities", &["cardcase authorities", "cardcase authorities --json"]),
        ],
    ),
    (
        "The store and its password",
        &[
            ("where", &["cardcase where", "cp \"$(cardcase where)\" copy.db"]),
            ("doctor", &["cardcase doctor", "cardcase doctor --json"]),
            (
                "backup",
                &[
                    "cardcase backup cards.new --password-file password",
                    "cardcase backup cards.full --with-history --password-file password",
                ],
            ),
            (
                "restore",
                &[
                    "cardcase restore cards.backup --password-file password",
                    "cardcase restore cards.backup --dry-run --password-file password",
                ],
            ),
            (
                "password",
                &[
                    "cardcase password --new-password-file password",
                    "cardcase password --primary-password-file old --new-password-file new",
                ],
            ),
            ("unlock", &["cardcase unlock --for 12h --primary-password-file old", "cardcase unlock --status"]),
            ("lock", &["cardcase lock", "cardcase lock --store work.db"]),
            ("accept", &["cardcase accept", "cardcase accept --primary-password-file old"]),
        ],
    ),
    (
        "Your shell",
        &[
            ("completions", &["cardcase completions bash > cardcase.bash", "cardcase completions zsh > _cardcase"]),
            ("man", &["cardcase man .", "mkdir -p man1 && cardcase man man1"]),
        ],
    ),
];

/// What stands below the options of `cardcase --help`.
const AFTER: &str = "For the options and examples of a command: cardcase COMMAND --help

Exit codes: 0 done; 1 failed; 2 usage; 3 the server asked and no identity fits,
or ID or HOST names nothing stored; 4 an answer was needed and nobody could be
asked; 5 the server refused the identity, or refused because none was sent;
6 wrong password; 130 interrupted.";

/// The command line with all of its help.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}Options of every command:\n{{options}}{{after-help}}",
        groups(&command)
    );
    for (name, examples) in GROUPS.iter().flat_map(|(_, entries)| *entries) {
        command = command.mut_subcommand(name, |command| command.after_help(example_lines(examples)));
    }
    command.help_template(template).after_help(AFTER)
}

fn example_lines(examples: &[&str]) -> String {
    let lines: Vec<String> = examples.iter().map(|example| format!("  {example}")).collect();
    format!("Examples:\n{}", lines.join("\n"))
}

/// The groups, with a line for each command.
fn groups(command: &Command) -> String {
    let names = GROUPS.iter().flat_map(|(_, entries)| *entries).map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for (title, entries) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for (name, _) in entries {
            let about = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            text.push_str(&format!("  {name:<width$}  {}\n", about.unwrap_or_default()));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_in_exactly_one_group_with_two_or_three_examples() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, entries)| *entries).map(|(name, _)| *name).collect();
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), shown.collect());
        assert_eq!(grouped.len(), grouped.iter().collect::<BTreeSet<_>>().len(), "a command is in two groups");
        for (name, examples) in GROUPS.iter().flat_map(|(_, entries)| *entries) {
            assert!((2..=3).contains(&examples.len()), "{name}: {} examples", examples.len());
            assert!(examples.iter().any(|example| example.contains(&format!("cardcase {name}"))), "{name}");
        }
    }

    #[test]
    fn every_command_has_one_line_of_80_columns() {
        for line in groups(&Cli::command()).lines() {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }
}
