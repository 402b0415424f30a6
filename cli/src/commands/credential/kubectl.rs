//! kubectl's exec plugin: client.authentication.k8s.io, ExecCredential.
//! <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cardcase::manage::Timestamp;
use cardcase::manage::plain_json;
use cardcase::{Destination, Target};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::selected::{Credential, select};
use crate::app::App;
use crate::cli;
use crate::http::probe::Look;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::stdout::print;

/// The environment variable with which kubectl says what it wants.
const VARIABLE: &str = "KUBERNETES_EXEC_INFO";

const KIND: &str = "ExecCredential";

/// The supported versions, whose fields are the same. The first one is used to set up.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// Seconds after which a running client asks again, so that changed decisions apply.
const KEPT: i64 = 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
    kind: String,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    cluster: Option<Cluster>,
    #[serde(default)]
    interactive: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    tls_server_name: Option<String>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    api_version: &'a str,
    kind: &'a str,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    expiration_timestamp: String,
    client_certificate_data: &'a str,
    client_key_data: &'a str,
}

pub(super) fn run(app: &App, args: &cli::Credential) -> Result<(), Failure> {
    let Some(text) = std::env::var_os(VARIABLE) else { return set_up(args) };
    let wrong = |why: &dyn std::fmt::Display| Failure::new(Code::Failed, format_args!("{VARIABLE}: {why}"));
    let info: ExecInfo = serde_json::from_slice(text.as_encoded_bytes()).map_err(|error| wrong(&error))?;
    if info.kind != KIND || !VERSIONS.contains(&info.api_version.as_str()) {
        let failure = wrong(&format_args!("it asks for {} of {}", info.kind, info.api_version));
        return Err(failure.hint(format_args!("in the kubeconfig: apiVersion: {}", VERSIONS[0])));
    }
    if !info.spec.interactive {
        app.leave_the_terminal_alone();
    }
    let named = args.destination.as_deref().map(str::parse::<Destination>).transpose()?;
    let way = Way::new(named, info.spec.cluster.as_ref()).map_err(|why| wrong(&why))?;
    let data = info.spec.cluster.as_ref().and_then(|at| at.certificate_authority_data.as_ref());
    let authorities = match data.filter(|_| args.cacert.is_none()) {
        Some(data) => {
            let bytes = BASE64.decode(data).map_err(|error| wrong(&error))?;
            Some(verify::parse_certificates(&bytes, Path::new(VARIABLE))?)
        }
        None => None,
    };
    let config = match &authorities {
        Some(authorities) => verify::config_with(app, authorities.clone())?,
        None => verify::config(app, args.cacert.as_deref())?,
    };
    let roots = || match &authorities {
        Some(authorities) => verify::roots_with(app, authorities.clone()),
        None => verify::roots(app, args.cacert.as_deref()),
    };
    let connect = args.connect.as_deref().or(way.connect.as_deref());
    let target = Target::from(&way.destination);
    let look = Look { target: &target, connect, config: &config, roots: &roots, tls: args.tls, given: None };
    let credential = select(app, args, look)?;
    if credential.requires_tls13 {
        let why = format!("{:?} is sent in TLS 1.3 only, and kubectl has no option for that", credential.name);
        return Err(Failure::new(Code::NothingFits, why).hint("use a tunnel: cardcase tunnel HOST"));
    }
    give(app, &info.api_version, &credential)
}

/// The server that gets the certificate, and the address to connect to.
struct Way {
    destination: Destination,
    connect: Option<String>,
}

impl Way {
    fn new(named: Option<Destination>, cluster: Option<&Cluster>) -> Result<Self, String> {
        let Some(cluster) = cluster else {
            let destination = named.ok_or("it names no server: give HOST, or set provideClusterInfo")?;
            return Ok(Self { destination, connect: None });
        };
        if let Some(proxy) = cluster.proxy_url.as_ref().filter(|url| !url.is_empty()) {
            return Err(format!("the server is behind the proxy {proxy}, and proxies are not supported here"));
        }
        let url = Url::parse(&cluster.server).map_err(|error| format!("{}: {error}", cluster.server))?;
        let (Some(host), Some(port), "https") = (url.host_str(), url.port_or_known_default(), url.scheme()) else {
            return Err(format!("{}: it is not an https URL", cluster.server));
        };
        let address = Destination::new(host, port).map_err(|error| error.to_string())?;
        let (destination, connect) = match cluster.tls_server_name.as_deref().filter(|name| !name.is_empty()) {
            None => (address, None),
            // The server is verified by that name, so decisions are for that name
            Some(name) => (Destination::new(name, port).map_err(|error| error.to_string())?, Some(address.to_string())),
        };
        match named {
            Some(named) if named != destination => Err(format!("kubectl connects to {destination}, not to {named}")),
            _ => Ok(Self { destination, connect }),
        }
    }
}

/// Prints nothing else: kubectl shows its user all output of a plugin at every call.
fn give(app: &App, version: &str, credential: &Credential) -> Result<(), Failure> {
    let (certificates, key) = (credential.certificates_pem()?, credential.key_pem()?);
    let not_after = credential.certificates.first().map(|leaf| leaf.not_after());
    let later = Timestamp(app.now().0.saturating_add(KEPT));
    let answer = ExecCredential {
        api_version: version,
        kind: KIND,
        status: Status {
            expiration_timestamp: not_after.map_or(later, |end| end.min(later)).to_string(),
            client_certificate_data: &certificates,
            client_key_data: &key,
        },
    };
    let mut text = Zeroizing::new(String::new());
    text.push_str(&Zeroizing::new(serde_json::to_string(&answer).map_err(|error| Failure::new(Code::Failed, error))?));
    text.push('\n');
    print(&text)
}

/// Called by a person: prints what to write into the kubeconfig. It shows no key.
fn set_up(args: &cli::Credential) -> Result<(), Failure> {
    say::warn(
        "kubectl gets the unencrypted private key from the store at each call, and keeps it in its memory; the key is not \
         written to a file, and no warning is shown",
    );
    say::note(
        "add this to the kubeconfig, and name the user in a context: kubectl config set-context --current --user=cardcase",
    );
    let mut arguments = vec!["credential".to_owned(), "kubectl".to_owned()];
    arguments.extend(
        args.destination.as_ref().map(|host| host.parse::<Destination>()).transpose()?.map(|at| at.to_string()),
    );
    for (flag, value) in [("--as", &args.identity), ("--connect", &args.connect)] {
        arguments.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    if let Some(file) = &args.cacert {
        let path = std::path::absolute(file).map_err(|error| Failure::io(file, &error))?;
        arguments.extend(["--cacert".to_owned(), path.display().to_string()]);
    }
    // JSON strings are YAML strings
    let arguments = serde_json::to_string(&arguments).map_err(|error| Failure::new(Code::Failed, error))?;
    let arguments = plain_json(&arguments);
    print(&format!(
        "users:\n- name: cardcase\n  user:\n    exec:\n      apiVersion: {}\n      command: cardcase\n      args: {arguments}\n      \
         interactiveMode: IfAvailable\n      provideClusterInfo: true\n",
        VERSIONS[0],
    ))
}
