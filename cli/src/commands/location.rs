//! `cardcase where`

use std::path::Path;

use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::stdout::print;
use crate::ui::text::absolute;

#[derive(Serialize)]
struct WhereJson<'a> {
    store: &'a Path,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let path = absolute(app.store_path()?);
    if app.common.json {
        return print_json(&WhereJson { store: &path });
    }
    print(&format!("{}\n", path.display()))
}
