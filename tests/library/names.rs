use cardcase::Destination;
use cardcase::Error;
use cardcase::manage::Mode;
use cardcase::raw::server_name;
use proptest::prelude::*;

const DOCUMENT: &str = include_str!("../../docs/browsers.md");

/// The rows of the table with this head, from the document that people read.
fn table(second_column: &str) -> Vec<(&'static str, &'static str)> {
    let head = format!("| written | {second_column} |");
    let rows = DOCUMENT.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let (written, other) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        (written.trim_matches('`'), other.trim_matches('`'))
    })
    .collect()
}

fn parse(text: &str) -> Result<Destination, Error> {
    text.parse()
}

#[test]
fn a_destination_has_one_form() {
    let rows = table("destination");
    assert!(rows.len() > 30);
    for (written, shown) in rows {
        let destination = parse(written).unwrap();
        assert_eq!(destination.to_string(), shown, "{written}");
        assert_eq!(parse(shown).unwrap(), destination, "{written}");
        // In firefox mode, decisions are shown and typed as the host only, which is the same scope
        let scope = Mode::Firefox.scope(&destination);
        assert_eq!(Mode::Firefox.scope(&parse(&scope.to_string()).unwrap()), scope, "{written}");
    }
}

#[test]
fn an_invalid_destination_is_refused_with_a_reason() {
    let rows = table("refused because");
    assert!(rows.len() > 20);
    for (written, why) in rows {
        let Err(Error::Destination { text, reason }) = parse(written) else { panic!("{written} was taken") };
        assert!(reason.contains(why), "{written}: {reason}");
        assert!(written.contains(&text), "{written} is not named but {text}");
    }
}

#[test]
fn names_and_labels_have_length_limits() {
    let of = |labels: &[usize]| labels.iter().map(|&length| "a".repeat(length)).collect::<Vec<_>>().join(".");
    for (labels, dot, taken) in [
        (&[63, 63, 63, 61][..], "", true),
        (&[63, 63, 63, 61], ".", true),
        (&[63, 63, 63, 62], "", false),
        (&[64, 2], "", false),
        (&[63], "", true),
    ] {
        assert_eq!(parse(&format!("{}{dot}", of(labels))).is_ok(), taken, "{labels:?} {dot}");
    }
    // The length of the A-label counts
    assert!(parse(&"ü".repeat(60)).is_err());
    assert!(parse(&format!("fe80::1%{}", "a".repeat(15))).is_ok());
}

#[test]
fn addresses_with_different_zones_are_different_destinations() {
    let [eth0, eth1, none] = ["fe80::1%eth0", "fe80::1%eth1", "fe80::1"].map(|text| parse(text).unwrap());
    assert!(eth0 != eth1 && eth0 != none);
    for mode in [Mode::Firefox, Mode::Chrome] {
        assert_ne!(mode.scope(&eth0), mode.scope(&eth1));
    }
    assert_eq!((eth0.host(), eth0.host_without_zone()), ("fe80::1%eth0", "fe80::1"));
    assert_eq!(server_name(&eth0).unwrap(), server_name(&none).unwrap());
}

/// Hosts of every kind, as somebody might write them.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,8}[a-zA-Z0-9])?(\\.[a-z]{1,8}){0,3}",
        "[a-zäöüßéλжあ]{1,6}(\\.[a-zäöü]{1,6}){0,2}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
        ("[0-9a-f]{1,4}", "[A-Za-z0-9._~-]{1,15}").prop_map(|(last, zone)| format!("[fe80::{last}%25{zone}]")),
    ]
}

fn assert_normal(destination: &Destination) {
    let (host, zone) = match destination.host().split_once('%') {
        Some((host, zone)) => (host, zone),
        None => (destination.host(), "0"),
    };
    assert_eq!(host, destination.host_without_zone());
    assert!(!host.is_empty() && host.len() <= 253, "{host}");
    assert!(host.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_' | ':')), "{host}");
    assert!(host.contains(':') || host.split('.').all(|label| (1..=63).contains(&label.len())), "{host}");
    assert!((1..=15).contains(&zone.len()) && !zone.contains(|c: char| "%[]:/".contains(c) || c.is_whitespace()));
    assert_ne!(destination.port(), 0);
}

proptest! {
    #[test]
    fn a_displayed_destination_parses_to_the_same_destination(host in host(), port in 1..=u16::MAX) {
        if let Ok(destination) = Destination::new(&host, port) {
            assert_normal(&destination);
            prop_assert_eq!(parse(&destination.to_string()).unwrap(), destination.clone());
            prop_assert_eq!(Destination::new(destination.host(), port).unwrap(), destination);
        }
    }

    #[test]
    fn case_and_a_trailing_dot_do_not_matter(host in host(), port in 1..=u16::MAX) {
        let Ok(destination) = Destination::new(&host, port) else { return Ok(()) };
        // The zone is defined by the system and is case-sensitive
        let upper = match host.split_once('%') {
            Some((address, zone)) => format!("{}%{zone}", address.to_uppercase()),
            None => host.chars().map(|c| if c.is_ascii() { c.to_ascii_uppercase() } else { c }).collect(),
        };
        prop_assert_eq!(&Destination::new(&upper, port).unwrap(), &destination);
        if !host.starts_with('[') && destination.host().len() < 253 {
            prop_assert_eq!(&Destination::new(&format!("{host}."), port).unwrap(), &destination);
            let two_dots = Destination::new(&format!("{host}.."), port);
            prop_assert!(two_dots.is_err());
        }
    }

    #[test]
    fn different_ports_and_hosts_are_different_destinations(host in host(), port in 1..u16::MAX) {
        let Ok(destination) = Destination::new(&host, port) else { return Ok(()) };
        prop_assert_ne!(&Destination::new(&host, port + 1).unwrap(), &destination);
        let is_name = !destination.host().contains(':') && destination.host().parse::<std::net::Ipv4Addr>().is_err();
        if is_name && let Ok(below) = Destination::new(&format!("a.{host}"), port) {
            prop_assert_ne!(below, destination);
        }
    }

    #[test]
    fn no_text_panics_or_gives_an_invalid_destination(text in any::<String>(), ascii in "[ -~]{0,30}", zone in "\\[fe80::1%[ -~]{0,18}\\](:[0-9]{1,5})?") {
        for text in [text, ascii, zone] {
            if let Ok(destination) = parse(&text) {
                assert_normal(&destination);
                prop_assert_eq!(parse(&destination.to_string()).unwrap(), destination);
            }
        }
    }
}
