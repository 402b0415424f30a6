//! `cardcase pkcs11`: what other programs may have signed, and the module that they load for it.

use std::path::{Path, PathBuf};

use cardcase::Identity;
use cardcase::manage::{Confirmation, Permission};
use serde::Serialize;

use crate::app::App;
use crate::cli::{Allow, AllowedConfirmation, AllowedPermission, Deny, ModulePlaces, Pkcs11, Pkcs11Command};
use crate::pkcs11::{Place, Uris, find_module};
use crate::profiles::{Profile, Program, Way};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{NamedJson, print_json};
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::table::table;
use crate::ui::text::{absolute, quoted, word};

/// What other programs may have signed with an identity.
#[derive(Serialize)]
struct PermittedJson {
    #[serde(flatten)]
    identity: NamedJson,
    permission: String,
    confirmation: String,
    #[serde(flatten)]
    uris: Option<Uris>,
}

#[derive(Serialize)]
struct StatusJson {
    module: Option<PathBuf>,
    installed: Vec<InstalledJson>,
    identities: Vec<PermittedJson>,
}

#[derive(Serialize)]
struct InstalledJson {
    programs: String,
    file: PathBuf,
    module: PathBuf,
}

#[derive(Serialize)]
struct ChangedJson {
    module: Option<PathBuf>,
    /// The files that were changed.
    files: Vec<PathBuf>,
}

pub(crate) fn run(app: &App, args: &Pkcs11) -> Result<(), Failure> {
    match args.command.as_ref().unwrap_or(&Pkcs11Command::Status) {
        Pkcs11Command::Status => status(app),
        Pkcs11Command::Allow(args) => allow(app, args),
        Pkcs11Command::Deny(args) => deny(app, args),
        Pkcs11Command::Install(args) => install(app, args),
        Pkcs11Command::Remove(args) => remove(app, args),
    }
}

fn allow(app: &App, args: &Allow) -> Result<(), Failure> {
    let permission = match args.permission {
        AllowedPermission::Tls => Permission::Tls,
        AllowedPermission::Any => Permission::Any,
    };
    let confirmation = match args.confirm {
        AllowedConfirmation::Never => Confirmation::Never,
        AllowedConfirmation::Each => Confirmation::Each,
        AllowedConfirmation::For15Minutes => Confirmation::For15Minutes,
    };
    let permitted = permit(app, &args.id, permission, confirmation)?;
    let name = permitted.name();
    say::note(match permission {
        Permission::Any => format!("every program of yours can now have anything signed with {name}, documents too"),
        _ => format!("every program of yours can now have TLS connections signed with {name}"),
    });
    match Uris::new(&permitted) {
        Some(uris) => say::hint(format_args!("its URI: {}", word(&uris.uri))),
        None => say::warn(format_args!("the module does not show {name}: programs cannot use its key this way")),
    }
    if Place::all_installed().is_empty() {
        say::hint("to install the module in programs: cardcase pkcs11 install");
    }
    app.answer(|| PermittedJson::new(&permitted))
}

fn deny(app: &App, args: &Deny) -> Result<(), Failure> {
    let denied = permit(app, &args.id, Permission::Off, Confirmation::Never)?;
    say::note(format_args!("other programs have nothing signed with {} any more", denied.name()));
    app.answer(|| PermittedJson::new(&denied))
}

fn permit(app: &App, id: &str, permission: Permission, confirmation: Confirmation) -> Result<Identity, Failure> {
    let identity = app.store()?.find_identity(id)?;
    Ok(app.fully_unlocked_store()?.permit(&identity, permission, confirmation)?)
}

impl PermittedJson {
    fn new(identity: &Identity) -> Self {
        Self {
            identity: NamedJson::new(identity.fingerprint(), identity.name()),
            permission: identity.permission().to_string(),
            confirmation: identity.confirmation().to_string(),
            uris: Uris::new(identity),
        }
    }
}

fn status(app: &App) -> Result<(), Failure> {
    let mut permitted = Vec::new();
    for identity in app.store()?.each_identity()? {
        permitted.extend(Some(identity?).filter(|identity| identity.permission() != Permission::Off));
    }
    let (module, installed) = (find_module(), Place::all_installed());
    if app.common.json {
        let installed = installed.into_iter().map(|(place, module)| {
            let (programs, file) = (place.programs(), place.path());
            InstalledJson { programs, file, module }
        });
        let identities = permitted.iter().map(PermittedJson::new).collect();
        return print_json(&StatusJson { module, installed: installed.collect(), identities });
    }
    let mut text = match &module {
        Some(module) => format!("Module     {}\n", quoted(module)),
        None => "Module     not found\n".to_owned(),
    };
    for (place, _) in &installed {
        text.push_str(&format!("Installed  {} ({})\n", place.programs(), quoted(&place.path())));
    }
    if installed.is_empty() {
        text.push_str("Installed  nowhere (to install it: cardcase pkcs11 install)\n");
    }
    if permitted.is_empty() {
        text.push_str("\nOther programs may have nothing signed (to allow it: cardcase pkcs11 allow ID tls)\n");
    } else {
        let row = |identity: &Identity| {
            let uri = Uris::new(identity).map_or_else(|| "not shown".to_owned(), |uris| uris.uri);
            let (permission, confirmation) = (identity.permission(), identity.confirmation());
            vec![identity.name().to_owned(), permission.to_string(), confirmation.to_string(), uri]
        };
        text.push_str(&format!("\n{}", table(&["IDENTITY", "SIGNS", "ASKS", "URI"], permitted.iter().map(row))));
    }
    print(&text)
}

fn install(app: &App, args: &ModulePlaces) -> Result<(), Failure> {
    let module = match &args.module {
        Some(module) => absolute(module.clone()),
        None => find_module().ok_or_else(|| {
            Failure::new(Code::Failed, "the PKCS#11 module is not installed on this machine, libcardcase_pkcs11.so")
                .hint("if you have it elsewhere: cardcase pkcs11 install --module FILE")
        })?,
    };
    if !module.is_file() && !args.print {
        return Err(Failure::new(Code::Failed, "there is no such file").in_file(&module));
    }
    let mut places = named(args)?;
    if places.is_empty() {
        places.push(Place::p11_kit()?);
    }
    if args.print {
        return print_commands(&places, Some(&module));
    }
    for place in &places {
        place.install(&module)?;
        say::note(format_args!("installed for {}: {}", place.programs(), quoted(&place.path())));
    }
    if places.iter().any(|place| matches!(place, Place::P11Kit(_))) && rustix::process::geteuid().is_root() {
        say::warn("p11-kit reads no configuration of a user for programs that run as root");
    }
    let has_browser = places.iter().any(|place| matches!(place, Place::Nss(_)));
    if !has_browser {
        say::hint("for browsers: cardcase pkcs11 install --firefox; cardcase pkcs11 install --chromium");
    }
    app.answer(|| ChangedJson { module: Some(module), files: places.iter().map(Place::path).collect() })
}

fn remove(app: &App, args: &ModulePlaces) -> Result<(), Failure> {
    let named = named(args)?;
    let places: Vec<Place> = match named.is_empty() {
        // What belongs to the system is removed with its package
        true => Place::all_installed().into_iter().map(|(place, _)| place).filter(is_own).collect(),
        false => named.into_iter().filter(|place| place.installed().is_some()).collect(),
    };
    if args.print {
        return print_commands(&places, None);
    }
    if places.is_empty() {
        say::note("the module is not installed there");
    }
    for place in &places {
        place.remove()?;
        say::note(format_args!("removed for {}: {}", place.programs(), quoted(&place.path())));
    }
    app.answer(|| ChangedJson { module: None, files: places.iter().map(Place::path).collect() })
}

fn is_own(place: &Place) -> bool {
    match place {
        Place::P11Kit(file) => Place::p11_kit().is_ok_and(|own| own.path() == *file),
        Place::Nss(_) => true,
    }
}

/// The places that the flags name.
fn named(args: &ModulePlaces) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    if args.p11_kit {
        places.push(Place::p11_kit()?);
    }
    if let Some(wanted) = &args.firefox {
        let wanted = Some(wanted.as_str()).filter(|wanted| !wanted.is_empty());
        places.push(Place::Nss(Profile::find(Program::Firefox, wanted, Way::Module)?));
    }
    if args.chromium {
        places.push(Place::Nss(Profile::find(Program::Chromium, None, Way::Module)?));
    }
    Ok(places)
}

fn print_commands(places: &[Place], module: Option<&Path>) -> Result<(), Failure> {
    let mut text = String::new();
    for place in places {
        text.push_str(&format!("# {}\n", place.programs()));
        for command in place.commands(module) {
            text.push_str(&format!("{command}\n"));
        }
    }
    print(&text)
}
