//! Lists the public API of a library from rustdoc's JSON, one item a line.

use std::collections::HashSet;
use std::error::Error;

use public_api::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args_os().nth(1).ok_or("usage: public-api-listing FILE.json")?;
    let listed = || Builder::from_rustdoc_json(&json).omit_blanket_impls(true);
    let written = listed().omit_auto_trait_impls(true).omit_auto_derived_impls(true).build()?;
    let written: HashSet<String> = written.items().map(ToString::to_string).collect();
    for item in listed().build()?.items().map(ToString::to_string) {
        if written.contains(&item) || is_promise(&item) {
            println!("{item}");
        }
    }
    Ok(())
}

/// Whether a derived or automatic implementation is listed: one line for each derived one, and automatic ones only where a type
/// is not Send or Sync.
fn is_promise(item: &str) -> bool {
    const AUTOMATIC: [&str; 7] = ["Freeze", "Send", "Sync", "Unpin", "UnsafeUnpin", "RefUnwindSafe", "UnwindSafe"];
    let Some(implemented) = item.strip_prefix("impl") else { return false };
    let is_one_of = |names: &[&str]| names.iter().any(|name| implemented.contains(&format!("::{name} for ")));
    match implemented.contains("!core::marker::") {
        true => is_one_of(&["Send", "Sync"]),
        false => !is_one_of(&AUTOMATIC),
    }
}
