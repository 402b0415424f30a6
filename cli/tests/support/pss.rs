//! Identities with RSASSA-PSS keys, which rcgen cannot make.

use std::path::PathBuf;

use super::ca::{self, PASSWORD};
use super::scene::Scene;

/// The certificate as DER, and a `.p12` file with key and certificate of a key that staff issued.
pub fn issued(scene: &Scene, name: &str, bits: u32, parameters: &str) -> (Vec<u8>, PathBuf) {
    let dir = scene.machine.dir();
    let [key, leaf] = ["key", "leaf"].map(|stem| ca::unused(dir, stem, "pem"));
    let file = ca::unused(dir, "identity", "p12");
    let (issuer, issuer_key) = (scene.staff.file(dir), scene.staff.key_file(dir));
    let [key, leaf, p12, issuer, issuer_key] = [&key, &leaf, &file, &issuer, &issuer_key].map(|path| path.display());
    let parameters = parameters.split_whitespace().map(|option| format!("-pkeyopt rsa_pss_keygen_{option} "));
    let parameters: String = parameters.collect();
    ca::openssl(&format!("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:{bits} {parameters} -out {key}"));
    ca::openssl(&format!(
        "req -x509 -CA {issuer} -CAkey {issuer_key} -key {key} -subj /CN={name} -days 30 -out {leaf}
         -addext basicConstraints=CA:FALSE -addext keyUsage=digitalSignature -addext extendedKeyUsage=clientAuth"
    ));
    ca::openssl(&format!(
        "pkcs12 -export -name {name} -inkey {key} -in {leaf} -certfile {issuer} -passout pass:{PASSWORD} -out {p12}"
    ));
    (ca::openssl(&format!("x509 -in {leaf} -outform DER")), file)
}
