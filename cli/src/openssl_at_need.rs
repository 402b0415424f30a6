//! Loads OpenSSL when one of its functions is first called, instead of at the start of the program.
//!
//! Most commands never call OpenSSL, but to map it and to resolve its symbols takes twice as long as the rest of `cardcase --version`.
//! So its functions are defined here: each jumps to where a table says. At first the table points to a routine that loads the library,
//! fills the table, write-protects it, and jumps to the function that was called. A linker that finds the functions here does not link
//! the library (`--as-needed`). If the crate `openssl` calls a function that is missing here, the library is loaded at the start, as
//! without this file, and everything works the same; a test notices.
//!
//! build.rs turns this on where the registers and the calling convention are those that are saved here, and where the library is not
//! linked statically.

// It defines functions in assembly and writes their addresses: no safe code can
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::error::Error;
use std::ffi::c_void;
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::mm::{MprotectFlags, mprotect};

use crate::cleanup;
use crate::ui::failure::{Code, Failure};

/// The library that the program was built with, such as `libssl.so.3`. It brings libcrypto.
const LIBRARY: &str = env!("CARDCASE_LIBSSL");

/// Where the functions are, in the order of [`NAMES`]: a page of its own, which is written once.
#[repr(C, align(4096))]
struct Table([AtomicPtr<c_void>; NAMES.len()]);

static TABLE: Table = Table([const { AtomicPtr::new(cardcase_first_call as *mut c_void) }; NAMES.len()]);

unsafe extern "C" {
    /// Loads the library, and jumps to the function whose number is in r11. Not to be called, but jumped to.
    fn cardcase_first_call();
}

// All registers that may hold arguments (System V ABI 3.2.3): OpenSSL has functions with any number of them. r10 and r11 are free
// between a call and its function.
global_asm!(
    ".pushsection .text.cardcase_first_call,\"ax\",@progbits",
    ".globl cardcase_first_call",
    ".hidden cardcase_first_call",
    ".type cardcase_first_call, @function",
    "cardcase_first_call:",
    "push rbp",
    "mov rbp, rsp",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push r8",
    "push r9",
    "push rax",
    "push r11",
    "sub rsp, 128",
    "movups [rsp], xmm0",
    "movups [rsp + 16], xmm1",
    "movups [rsp + 32], xmm2",
    "movups [rsp + 48], xmm3",
    "movups [rsp + 64], xmm4",
    "movups [rsp + 80], xmm5",
    "movups [rsp + 96], xmm6",
    "movups [rsp + 112], xmm7",
    "call {load}",
    "movups xmm0, [rsp]",
    "movups xmm1, [rsp + 16]",
    "movups xmm2, [rsp + 32]",
    "movups xmm3, [rsp + 48]",
    "movups xmm4, [rsp + 64]",
    "movups xmm5, [rsp + 80]",
    "movups xmm6, [rsp + 96]",
    "movups xmm7, [rsp + 112]",
    "add rsp, 128",
    "pop r11",
    "pop rax",
    "pop r9",
    "pop r8",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "pop rbp",
    "lea r10, [rip + {table}]",
    "jmp qword ptr [r10 + 8 * r11]",
    ".size cardcase_first_call, . - cardcase_first_call",
    ".popsection",
    load = sym load,
    table = sym TABLE,
);

/// Defines each function: it says its number, and jumps. Hidden, so that libssl itself finds those of libcrypto.
macro_rules! functions {
    ($($name:ident)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($name),* }

        const NAMES: &[&str] = &[$(concat!(stringify!($name), "\0")),*];

        $(global_asm!(
            concat!(".pushsection .text.cardcase_", stringify!($name), ",\"ax\",@progbits"),
            concat!(".globl ", stringify!($name)),
            concat!(".hidden ", stringify!($name)),
            concat!(".type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ":"),
            "mov r11d, {number}",
            "jmp qword ptr [rip + {table} + 8 * {number}]",
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            number = const Number::$name as usize,
            table = sym TABLE,
        );)*
    };
}

/// Whether the library can be loaded; if not, why. Loads it for good only when it is needed.
pub(crate) fn check() -> Result<(), String> {
    // SAFETY: its initialisers are those that ran at the start of every program linked to it
    match unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) } {
        Ok(_) => Ok(()),
        Err(error) => Err(words(&error)),
    }
}

/// The system's own words.
fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Loads the library and fills the table. Without the library the program cannot do what it is about to do, and ends.
extern "C" fn load() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        if let Err(error) = fill() {
            let failure = Failure::new(Code::Failed, format_args!("OpenSSL cannot be loaded: {}", words(&error)));
            let hint = format!("install the package of {LIBRARY}: on Debian, apt-get install libssl3");
            failure.hint(hint).tell();
            cleanup::run_all();
            process::exit(Code::Failed as i32);
        }
    });
}

fn fill() -> Result<(), libloading::Error> {
    // SAFETY: its initialisers are those that ran at the start of every program linked to it
    let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) }?;
    for (place, name) in TABLE.0.iter().zip(NAMES) {
        // SAFETY: the address is only jumped to, by callers that declare the function as the headers do
        let function = unsafe { library.get::<*mut c_void>(name.as_bytes()) }?;
        place.store(*function, Ordering::Release);
    }
    // It stays as long as the process
    std::mem::forget(library);
    // SAFETY: the table has its pages for itself, and nothing writes to it again. If the kernel refuses, it stays writable
    let _ = unsafe { mprotect(TABLE.0.as_ptr() as *mut c_void, size_of::<Table>(), MprotectFlags::READ) };
    Ok(())
}

functions! {
    BIO_clear_flags
    BIO_get_data
    BIO_meth_free
    BIO_meth_new
    BIO_meth_set_create
    BIO_meth_set_ctrl
    BIO_meth_set_destroy
    BIO_meth_set_puts
    BIO_meth_set_read
    BIO_meth_set_write
    BIO_new
    BIO_set_data
    BIO_set_flags
    BIO_set_init
    CRYPTO_get_ex_new_index
    ERR_get_error_all
    ERR_lib_error_string
    ERR_reason_error_string
    EVP_DigestSign
    EVP_DigestSignInit
    EVP_DigestVerify
    EVP_DigestVerifyInit
    EVP_MD_CTX_free
    EVP_MD_CTX_new
    EVP_MD_get_type
    EVP_PKCS82PKEY
    EVP_PKEY_CTX_free
    EVP_PKEY_CTX_new
    EVP_PKEY_CTX_set_rsa_mgf1_md
    EVP_PKEY_CTX_set_rsa_padding
    EVP_PKEY_CTX_set_rsa_pss_saltlen
    EVP_PKEY_CTX_set_signature_md
    EVP_PKEY_cmp
    EVP_PKEY_free
    EVP_PKEY_get_id
    EVP_PKEY_new
    EVP_PKEY_set1_RSA
    EVP_PKEY_sign
    EVP_PKEY_sign_init
    EVP_PKEY_up_ref
    EVP_get_digestbyname
    EVP_sha224
    EVP_sha256
    EVP_sha384
    EVP_sha512
    OBJ_nid2sn
    OPENSSL_init_ssl
    OPENSSL_sk_free
    OPENSSL_sk_new_null
    OPENSSL_sk_num
    OPENSSL_sk_pop
    OPENSSL_sk_value
    OpenSSL_version_num
    PKCS8_PRIV_KEY_INFO_free
    RSA_free
    SSL_CIPHER_description
    SSL_CIPHER_get_name
    SSL_CTX_ctrl
    SSL_CTX_free
    SSL_CTX_get0_param
    SSL_CTX_new
    SSL_CTX_set_alpn_protos
    SSL_CTX_set_cert_cb
    SSL_CTX_set_cipher_list
    SSL_CTX_set_default_verify_paths
    SSL_CTX_set_options
    SSL_CTX_set_post_handshake_auth
    SSL_CTX_set_verify
    SSL_CTX_up_ref
    SSL_SESSION_set1_id
    SSL_certs_clear
    SSL_connect
    SSL_ctrl
    SSL_free
    SSL_get0_alpn_selected
    SSL_get0_param
    SSL_get0_peer_CA_list
    SSL_get1_peer_certificate
    SSL_get_current_cipher
    SSL_get_error
    SSL_get_ex_data
    SSL_get_peer_cert_chain
    SSL_get_pending_cipher
    SSL_get_rbio
    SSL_get_security_level
    SSL_get_session
    SSL_get_sigalgs
    SSL_get_verify_result
    SSL_is_init_finished
    SSL_new
    SSL_read_ex
    SSL_set_bio
    SSL_set_ex_data
    SSL_set_security_level
    SSL_shutdown
    SSL_use_PrivateKey
    SSL_use_certificate
    SSL_version
    SSL_write_ex
    TLS_client_method
    X509_STORE_CTX_cleanup
    X509_STORE_CTX_free
    X509_STORE_CTX_get_error
    X509_STORE_CTX_init
    X509_STORE_CTX_new
    X509_STORE_CTX_set_cert
    X509_STORE_CTX_set_current_cert
    X509_STORE_add_cert
    X509_STORE_free
    X509_STORE_new
    X509_STORE_set_flags
    X509_VERIFY_PARAM_set1_host
    X509_VERIFY_PARAM_set1_ip
    X509_VERIFY_PARAM_set_flags
    X509_VERIFY_PARAM_set_hostflags
    X509_free
    X509_get_pubkey
    X509_up_ref
    X509_verify_cert
    X509_verify_cert_error_string
    d2i_PKCS8_PRIV_KEY_INFO
    d2i_RSAPrivateKey
    d2i_X509
    i2d_PUBKEY
    i2d_X509
    i2d_X509_NAME
}
