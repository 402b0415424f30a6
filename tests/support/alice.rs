// Included by the examples in the documentation: the store that they begin with.

/// A store, in a directory that goes with the first of the two, with Alice's identity and the CA certificates above it.
pub fn store() -> Result<(tempfile::TempDir, std::sync::Arc<cardcase::Store>), Box<dyn std::error::Error>> {
    use cardcase::Store;
    use cardcase::file::pkcs12;
    use cardcase::manage::{Import, Session, Timestamp};

    let home = tempfile::tempdir()?;
    let store = Store::open_in_session(home.path().join("cardcase.db"), Session::in_directory(home.path().join("session")))?;
    let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
    let contents = pkcs12::read(file, "cardcase", &pkcs12::Limits::default())?;
    store.import(vec![Import::from_contents(contents)?], None, Timestamp::now())?;
    Ok((home, store.into()))
}
