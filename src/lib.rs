//! A browser's client-certificate store for everything that is not a browser.

pub mod pkcs12;
