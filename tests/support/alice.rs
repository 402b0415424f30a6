// Included by the examples in the documentation: the store that they begin with.

/// A store with Alice's identity and the CA certificates above it, in a directory that is removed when the first value is
/// dropped.
pub fn store() -> Result<(tempfile::TempDir, std::sync::Arc<cardcase::Store>), Box<dyn std::error::Error>> {
    use cardcase::Store;
    use cardcase::manage::{Certificate, Import, Session, Timestamp};

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/alice/", $name)).to_vec()
        };
    }
    let mut import = Import::default();
    let certificate = Certificate::from_der(fixture!("certificate.der"))?;
    import.add_identity(certificate, fixture!("key.der").into(), Some("Alice Example's card"))?;
    import.add_authority(Certificate::from_der(fixture!("issuing.der"))?);
    import.add_authority(Certificate::from_der(fixture!("root.der"))?);

    let home = tempfile::tempdir()?;
    let session = Session::in_directory(home.path().join("session"));
    let store = Store::open_in_session(home.path().join("cardcase.db"), session)?;
    store.import(vec![import], None, Timestamp::now())?;
    Ok((home, store.into()))
}
