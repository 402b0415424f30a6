//! `cardcase authorities`

use cardcase::manage::Certificate;
use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::{CertificateJson, print_json};
use crate::ui::say;
use crate::ui::table::print_table;
use crate::ui::time::local_date;

#[derive(Serialize)]
struct AuthoritiesJson {
    authorities: Vec<CertificateJson>,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let authorities = app.store()?.authorities()?;
    if app.common.json {
        let authorities = authorities
            .iter()
            .map(|ca| CertificateJson { trusted: Some(ca.trusted), ..CertificateJson::new(&ca.certificate) })
            .collect();
        // A script would mistake a part for the whole
        app.check_all_shown("authorities")?;
        return print_json(&AuthoritiesJson { authorities });
    }
    if authorities.is_empty() {
        say::note("the store has no CA certificates; to add one: cardcase trust CA.pem");
        return app.check_all_shown("authorities");
    }
    let rows = authorities.iter().map(|ca| {
        let certificate = &ca.certificate;
        vec![
            certificate.subject().to_string(),
            kind(certificate).to_owned(),
            if ca.trusted { "yes" } else { "no" }.to_owned(),
            local_date(certificate.not_after()),
            certificate.fingerprint().short(),
        ]
    });
    print_table(&["SUBJECT", "KIND", "TRUSTED", "EXPIRES", "SHA-256"], rows)?;
    app.check_all_shown("authorities")
}

fn kind(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca() || certificate.version() < 3, certificate.is_self_signed()) {
        (true, true) => "root",
        (true, false) => "intermediate",
        // Trusted for itself
        (false, _) => "server",
    }
}
