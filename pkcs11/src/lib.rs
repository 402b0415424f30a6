//! A PKCS#11 module (version 2.40) over the store of cardcase: certificates and keys for browsers, curl, git, wget, Java and others.
//! docs/pkcs11.md says how to use it.
//!
//! It reads, and it signs; it stores nothing. The private keys stay with the agent of the store, which decides what is signed.
//!
//! Here are the functions that programs call, and everything that is unsafe: reading what programs point to, writing to where they
//! point, the state of the process, and the handlers of `fork`. Of what a caller has to keep to, only null pointers and lengths that no
//! memory has are checked; the rest cannot be. Arguments are copied before anything is written, because they may overlap.

#![allow(non_snake_case, non_camel_case_types, reason = "the names of PKCS#11")]
#![allow(unsafe_code, reason = "an interface of C; each module below is without it")]

// The floors: each uses only those above it

#[deny(unsafe_code)]
mod fork;

#[deny(unsafe_code)]
mod code;

#[deny(unsafe_code)]
mod slot;

#[deny(unsafe_code)]
mod mechanism;

#[deny(unsafe_code)]
mod object;

#[deny(unsafe_code)]
mod token;

#[deny(unsafe_code)]
mod unlock;

#[deny(unsafe_code)]
mod signing;

#[deny(unsafe_code)]
mod session;

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use code::Result;
use mechanism::{Hash, Mechanism, Parameters, mechanism_info, mechanisms};
use session::Module;

/// The state of one process. One that was made by `fork` has none, and does not touch that of its parent, whose lock another thread may
/// have held. So each process that initializes the module makes one of its own, which is never freed.
struct State {
    process: u32,
    module: Mutex<Option<Module>>,
}

static STATE: AtomicPtr<State> = AtomicPtr::new(null_mut());

/// Whether the handlers of `fork` are registered. They stay so: the module is never unmapped.
static HANDLES_FORK: AtomicBool = AtomicBool::new(false);

fn state() -> Option<&'static State> {
    // SAFETY: it is null, or a box that was leaked
    let state = unsafe { STATE.load(Ordering::Acquire).as_ref() };
    state.filter(|state| state.process == process::id())
}

/// The state of this process, which is made if there is none.
fn state_or_new() -> Result<&'static State> {
    let seen = STATE.load(Ordering::Acquire);
    if let Some(state) = state() {
        return Ok(state);
    }
    let new = Box::into_raw(Box::new(State { process: process::id(), module: Mutex::new(None) }));
    if STATE.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: nobody else has it
        drop(unsafe { Box::from_raw(new) });
    }
    state().ok_or(CKR_GENERAL_ERROR)
}

/// Works with the lock on the module, which is never held while a person is asked or a signature is made.
fn with_module<T>(work: impl FnOnce(&mut Module) -> Result<T>) -> Result<T> {
    let state = state().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
    let mut module = state.module.lock().unwrap_or_else(PoisonError::into_inner);
    work(module.as_mut().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?)
}

/// Keeps panics away from the program.
fn enter(work: impl FnOnce() -> Result<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(code)) => code,
        Err(_) => CKR_GENERAL_ERROR,
    }
}

/// Reads what a program points to.
///
/// # Safety
/// The pointer is null, or one that can be read.
unsafe fn read<T: Copy>(from: *const T) -> Result<T> {
    if from.is_null() {
        return Err(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null, so it can be read; programs do not always align
    Ok(unsafe { from.read_unaligned() })
}

/// Copies an array of a program.
///
/// # Safety
/// The pointer is null, or one at which so many can be read.
unsafe fn read_all<T: Copy>(from: *const T, count: CK_ULONG) -> Result<Vec<T>> {
    let count = usize::try_from(count).map_err(|_| CKR_ARGUMENTS_BAD)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let is_possible = count.checked_mul(size_of::<T>()).is_some_and(|size| isize::try_from(size).is_ok());
    if from.is_null() || !is_possible {
        return Err(CKR_ARGUMENTS_BAD);
    }
    let mut all: Vec<T> = Vec::new();
    // A length that no memory has is an error, and does not end the program
    all.try_reserve_exact(count).map_err(|_| CKR_HOST_MEMORY)?;
    // SAFETY: so many can be read, and there is room for them; as bytes they need not be aligned
    unsafe {
        from.cast::<u8>().copy_to_nonoverlapping(all.as_mut_ptr().cast::<u8>(), count * size_of::<T>());
        all.set_len(count);
    }
    Ok(all)
}

/// Writes to where a program points.
///
/// # Safety
/// The pointer is null, or one that can be written to.
unsafe fn write<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null, so it can be written to
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Whether a program has given a place for this many values. It is told how many there are, whether it has or not (PKCS#11 2.40
/// section 5.2).
///
/// # Errors
/// `CKR_BUFFER_TOO_SMALL`.
///
/// # Safety
/// Both pointers are null, or `count` can be read and written.
unsafe fn has_room<T>(needed: usize, to: *mut T, count: *mut CK_ULONG) -> Result<bool> {
    // SAFETY: as for this function
    let room = unsafe { read(count) }?;
    // SAFETY: as for this function
    unsafe { write(count, needed as CK_ULONG) }?;
    match (to.is_null(), usize::try_from(room).unwrap_or(usize::MAX) < needed) {
        (true, _) => Ok(false),
        (false, true) => Err(CKR_BUFFER_TOO_SMALL),
        (false, false) => Ok(true),
    }
}

/// Writes a list, if the program has given a place for it.
///
/// # Safety
/// As for [`has_room`], and `to` is null or has room for as many values as `count` says.
unsafe fn write_list<T: Copy>(values: &[T], to: *mut T, count: *mut CK_ULONG) -> Result<()> {
    // SAFETY: as for this function
    if unsafe { has_room(values.len(), to, count) }? {
        // SAFETY: as for this function; as bytes they need not be aligned
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    }
    Ok(())
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut padded = [b' '; N];
    padded.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    padded
}

fn version() -> CK_VERSION {
    let number = |text: &str| text.parse().unwrap_or_default();
    CK_VERSION { major: number(env!("CARGO_PKG_VERSION_MAJOR")), minor: number(env!("CARGO_PKG_VERSION_MINOR")) }
}

/// Fills in the list of functions: all that the module exports.
///
/// # Safety
/// The pointer is null, or one that can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // SAFETY: the program's pointer
    enter(|| unsafe { write(list, (&raw const FUNCTIONS).cast_mut()) })
}

unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    enter(|| {
        if !arguments.is_null() {
            // SAFETY: the program's pointer. pReserved is not looked at: NSS and p11-kit pass parameters of modules in it
            let arguments = unsafe { read(arguments.cast::<CK_C_INITIALIZE_ARGS>()) }?;
            let own = [
                arguments.CreateMutex.is_some(),
                arguments.DestroyMutex.is_some(),
                arguments.LockMutex.is_some(),
                arguments.UnlockMutex.is_some(),
            ];
            match own {
                [false, false, false, false] => {}
                // It insists on its own
                [true, true, true, true] if arguments.flags & CKF_OS_LOCKING_OK == 0 => return Err(CKR_CANT_LOCK),
                [true, true, true, true] => {}
                _ => return Err(CKR_ARGUMENTS_BAD),
            }
        }
        if !fork::is_usable() {
            return Err(CKR_GENERAL_ERROR);
        }
        handle_fork();
        let mut module = state_or_new()?.module.lock().unwrap_or_else(PoisonError::into_inner);
        if module.is_some() {
            return Err(CKR_CRYPTOKI_ALREADY_INITIALIZED);
        }
        *module = Some(Module::new());
        Ok(())
    })
}

fn handle_fork() {
    extern "C" fn prepare() {
        fork::prepare();
    }
    extern "C" fn parent() {
        fork::done_in_parent();
    }
    extern "C" fn child() {
        fork::done_in_child();
    }
    if !HANDLES_FORK.swap(true, Ordering::SeqCst) {
        // SAFETY: the functions stay mapped, and do not unwind
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    }
}

unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    enter(|| {
        if !reserved.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        let state = state().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)?;
        let module = state.module.lock().unwrap_or_else(PoisonError::into_inner).take();
        module.map(drop).ok_or(CKR_CRYPTOKI_NOT_INITIALIZED)
    })
}

unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    enter(|| {
        with_module(|_| Ok(()))?;
        let value = CK_INFO {
            cryptokiVersion: CK_VERSION { major: 2, minor: 40 },
            manufacturerID: padded("cardcase"),
            flags: 0,
            libraryDescription: padded("The certificates of cardcase"),
            libraryVersion: version(),
        };
        // SAFETY: the program's pointer
        unsafe { write(info, value) }
    })
}

unsafe extern "C" fn C_GetSlotList(_present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    enter(|| {
        let ids = with_module(|module| {
            module.token.read();
            Ok(module.token.slots().into_iter().map(|slot| slot.id()).collect::<Vec<_>>())
        })?;
        // SAFETY: the program's pointers
        unsafe { write_list(&ids, slots, count) }
    })
}

unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    enter(|| {
        let slot = with_module(|module| module.slot(slot))?;
        let value = CK_SLOT_INFO {
            slotDescription: padded(slot.label()),
            manufacturerID: padded("cardcase"),
            flags: CKF_TOKEN_PRESENT,
            hardwareVersion: version(),
            firmwareVersion: version(),
        };
        // SAFETY: the program's pointer
        unsafe { write(info, value) }
    })
}

unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    enter(|| {
        let (slot, serial_number) = with_module(|module| Ok((module.slot(slot)?, module.token.serial_number())))?;
        let value = CK_TOKEN_INFO {
            label: padded(slot.label()),
            manufacturerID: padded("cardcase"),
            model: padded("store"),
            serialNumber: padded(&serial_number),
            // No login: browsers would ask for a password before they look for certificates
            flags: CKF_TOKEN_INITIALIZED | CKF_WRITE_PROTECTED,
            ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
            ulSessionCount: CK_UNAVAILABLE_INFORMATION,
            ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
            ulRwSessionCount: CK_UNAVAILABLE_INFORMATION,
            ulMaxPinLen: 255,
            ulMinPinLen: 0,
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: version(),
            firmwareVersion: version(),
            utcTime: padded(""),
        };
        // SAFETY: the program's pointer
        unsafe { write(info, value) }
    })
}

unsafe extern "C" fn C_GetMechanismList(slot: CK_SLOT_ID, to: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    enter(|| {
        let slot = with_module(|module| module.slot(slot))?;
        // SAFETY: the program's pointers
        unsafe { write_list(&mechanisms(slot), to, count) }
    })
}

unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    enter(|| {
        let slot = with_module(|module| module.slot(slot))?;
        // SAFETY: the program's pointer
        unsafe { write(info, mechanism_info(slot, kind)?) }
    })
}

unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    enter(|| {
        if session.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        let opened = with_module(|module| module.open(slot, flags))?;
        // SAFETY: the program's pointer
        unsafe { write(session, opened) }
    })
}

unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    enter(|| with_module(|module| module.close(session)))
}

unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    enter(|| with_module(|module| module.close_all(slot)))
}

unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    enter(|| {
        let value = with_module(|module| module.info(session))?;
        // SAFETY: the program's pointer
        unsafe { write(info, value) }
    })
}

unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    _pin: *mut CK_UTF8CHAR,
    _length: CK_ULONG,
) -> CK_RV {
    enter(|| with_module(|module| module.log_in(session, user)))
}

unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    enter(|| with_module(|module| module.log_out(session)))
}

unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    enter(|| {
        let object = with_module(|module| module.object(session, object).cloned())?;
        // SAFETY: the program's pointer
        let asked = unsafe { read_all(template, count) }?;
        let mut told = Ok(());
        for (index, attribute) in asked.into_iter().enumerate() {
            let mut length = attribute.ulValueLen;
            // SAFETY: the program's pointer, with room for as many bytes as it says
            let written = match object.attribute(attribute.type_) {
                Some(value) => unsafe { write_list(&value, attribute.pValue.cast(), &raw mut length) },
                None => Err(object.why_not(attribute.type_)),
            };
            if written.is_err() {
                // The rest is told all the same
                length = CK_UNAVAILABLE_INFORMATION;
                told = written;
            }
            // SAFETY: within the program's array
            unsafe { write(template.add(index), CK_ATTRIBUTE { ulValueLen: length, ..attribute }) }?;
        }
        told
    })
}

unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    enter(|| {
        let mut wanted = Vec::new();
        // SAFETY: the program's pointer
        for attribute in unsafe { read_all(template, count) }? {
            // SAFETY: the program's pointer
            let value = unsafe { read_all(attribute.pValue.cast::<u8>(), attribute.ulValueLen) }?;
            wanted.push((attribute.type_, value));
        }
        with_module(|module| module.begin_search(session, &wanted))
    })
}

unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    enter(|| {
        if objects.is_null() || count.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        let most = usize::try_from(most).map_err(|_| CKR_ARGUMENTS_BAD)?;
        let found = with_module(|module| module.search(session, most))?;
        let mut room = most as CK_ULONG;
        // SAFETY: the program's pointers, with room for so many
        unsafe {
            write_list(&found, objects, &raw mut room)?;
            write(count, room)
        }
    })
}

unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    enter(|| with_module(|module| module.end_search(session)))
}

unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    enter(|| {
        if mechanism.is_null() {
            return with_module(|module| module.cancel_signature(session));
        }
        // SAFETY: the program's pointer
        let mechanism = unsafe { read(mechanism) }?;
        // SAFETY: the program's pointer
        let mechanism = Mechanism::new(mechanism.mechanism, unsafe { parameters(&mechanism) }?)?;
        with_module(|module| module.begin_signature(session, key, mechanism))
    })
}

/// # Safety
/// The parameters of the mechanism can be read.
unsafe fn parameters(mechanism: &CK_MECHANISM) -> Result<Parameters> {
    let length = usize::try_from(mechanism.ulParameterLen).unwrap_or(usize::MAX);
    if mechanism.pParameter.is_null() || length == 0 {
        return Ok(Parameters::None);
    }
    match mechanism.mechanism {
        CKM_EDDSA if length == size_of::<CK_EDDSA_PARAMS>() => {
            // SAFETY: as for this function, and they have this size
            unsafe { read(mechanism.pParameter.cast()) }.map(Parameters::Eddsa)
        }
        CKM_EDDSA => Ok(Parameters::Other),
        _ if length == size_of::<CK_RSA_PKCS_PSS_PARAMS>() => {
            // SAFETY: as for this function, and they have this size
            unsafe { read(mechanism.pParameter.cast()) }.map(Parameters::Pss)
        }
        _ => Ok(Parameters::Other),
    }
}

/// Signs what was given before and this part. Where the program only asks for the size, nothing is signed, and nobody is asked.
///
/// # Safety
/// The pointers are null, or can be written to; at `to` there is room for as many bytes as `length` says.
unsafe fn sign(session: CK_SESSION_HANDLE, part: &[u8], to: *mut CK_BYTE, length: *mut CK_ULONG) -> Result<()> {
    let size = with_module(|module| module.signature_size(session))?;
    // SAFETY: as for this function
    let room = unsafe { read(length) }?;
    // SAFETY: as for this function
    if unsafe { has_room(size, to, length) }? {
        let order = with_module(|module| module.end_signature(session, part))?;
        let signature = order.sign()?;
        // SAFETY: as for this function
        unsafe {
            write(length, room)?;
            write_list(&signature, to, length)?;
        }
    }
    Ok(())
}

unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    to: *mut CK_BYTE,
    to_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the program's pointers
    enter(|| unsafe { sign(session, &read_all(data, length)?, to, to_length) })
}

unsafe extern "C" fn C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, length: CK_ULONG) -> CK_RV {
    enter(|| {
        // SAFETY: the program's pointer
        let part = unsafe { read_all(part, length) }?;
        with_module(|module| module.add_to_message(session, &part))
    })
}

unsafe extern "C" fn C_SignFinal(session: CK_SESSION_HANDLE, to: *mut CK_BYTE, length: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the program's pointers
    enter(|| unsafe { sign(session, &[], to, length) })
}

unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) -> CK_RV {
    enter(|| {
        // SAFETY: the program's pointer
        let hash = Hash::of_digesting(unsafe { read(mechanism) }?.mechanism)?;
        with_module(|module| module.begin_digest(session, hash))
    })
}

/// # Safety
/// As for [`sign`].
unsafe fn digest(session: CK_SESSION_HANDLE, part: &[u8], to: *mut CK_BYTE, length: *mut CK_ULONG) -> Result<()> {
    with_module(|module| {
        let size = module.digest_size(session)?;
        // SAFETY: as for this function
        if unsafe { has_room(size, to, length) }? {
            // SAFETY: as for this function, and there is room for the digest
            unsafe { write_list(&module.end_digest(session, part)?, to, length) }?;
        }
        Ok(())
    })
}

unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    to: *mut CK_BYTE,
    to_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the program's pointers
    enter(|| unsafe { digest(session, &read_all(data, length)?, to, to_length) })
}

unsafe extern "C" fn C_DigestUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, length: CK_ULONG) -> CK_RV {
    enter(|| {
        // SAFETY: the program's pointer
        let part = unsafe { read_all(part, length) }?;
        with_module(|module| module.add_to_digest(session, &part))
    })
}

unsafe extern "C" fn C_DigestFinal(session: CK_SESSION_HANDLE, to: *mut CK_BYTE, length: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the program's pointers
    enter(|| unsafe { digest(session, &[], to, length) })
}

unsafe extern "C" fn C_GetFunctionStatus(_session: CK_SESSION_HANDLE) -> CK_RV {
    CKR_FUNCTION_NOT_PARALLEL
}

unsafe extern "C" fn C_CancelFunction(_session: CK_SESSION_HANDLE) -> CK_RV {
    CKR_FUNCTION_NOT_PARALLEL
}

/// No token comes or goes. A program that would wait is told so: its thread would have to be woken when the module ends.
unsafe extern "C" fn C_WaitForSlotEvent(flags: CK_FLAGS, _slot: *mut CK_SLOT_ID, _reserved: *mut c_void) -> CK_RV {
    match state() {
        None => CKR_CRYPTOKI_NOT_INITIALIZED,
        Some(_) if flags & CKF_DONT_BLOCK != 0 => CKR_NO_EVENT,
        Some(_) => CKR_FUNCTION_NOT_SUPPORTED,
    }
}

/// The functions of a token that is written to, encrypts or verifies. Programs call functions without looking whether they are there.
macro_rules! unsupported {
    ($($name:ident($($argument:ty),*);)*) => {
        $(unsafe extern "C" fn $name($(_: $argument),*) -> CK_RV { CKR_FUNCTION_NOT_SUPPORTED })*
    };
}

type Session = CK_SESSION_HANDLE;
type Key = CK_OBJECT_HANDLE;
type Bytes = *mut CK_BYTE;
type Length = *mut CK_ULONG;
type By = *mut CK_MECHANISM;
type Template = *mut CK_ATTRIBUTE;

unsupported! {
    C_InitToken(CK_SLOT_ID, Bytes, CK_ULONG, Bytes);
    C_InitPIN(Session, Bytes, CK_ULONG);
    C_SetPIN(Session, Bytes, CK_ULONG, Bytes, CK_ULONG);
    C_GetOperationState(Session, Bytes, Length);
    C_SetOperationState(Session, Bytes, CK_ULONG, Key, Key);
    C_CreateObject(Session, Template, CK_ULONG, *mut Key);
    C_CopyObject(Session, Key, Template, CK_ULONG, *mut Key);
    C_DestroyObject(Session, Key);
    C_GetObjectSize(Session, Key, Length);
    C_SetAttributeValue(Session, Key, Template, CK_ULONG);
    C_EncryptInit(Session, By, Key);
    C_Encrypt(Session, Bytes, CK_ULONG, Bytes, Length);
    C_EncryptUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_EncryptFinal(Session, Bytes, Length);
    C_DecryptInit(Session, By, Key);
    C_Decrypt(Session, Bytes, CK_ULONG, Bytes, Length);
    C_DecryptUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_DecryptFinal(Session, Bytes, Length);
    C_DigestKey(Session, Key);
    C_SignRecoverInit(Session, By, Key);
    C_SignRecover(Session, Bytes, CK_ULONG, Bytes, Length);
    C_VerifyInit(Session, By, Key);
    C_Verify(Session, Bytes, CK_ULONG, Bytes, CK_ULONG);
    C_VerifyUpdate(Session, Bytes, CK_ULONG);
    C_VerifyFinal(Session, Bytes, CK_ULONG);
    C_VerifyRecoverInit(Session, By, Key);
    C_VerifyRecover(Session, Bytes, CK_ULONG, Bytes, Length);
    C_DigestEncryptUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_DecryptDigestUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_SignEncryptUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_DecryptVerifyUpdate(Session, Bytes, CK_ULONG, Bytes, Length);
    C_GenerateKey(Session, By, Template, CK_ULONG, *mut Key);
    C_GenerateKeyPair(Session, By, Template, CK_ULONG, Template, CK_ULONG, *mut Key, *mut Key);
    C_WrapKey(Session, By, Key, Key, Bytes, Length);
    C_UnwrapKey(Session, By, Key, Bytes, CK_ULONG, Template, CK_ULONG, *mut Key);
    C_DeriveKey(Session, By, Key, Template, CK_ULONG, *mut Key);
}

/// The token has no random numbers to give.
unsafe extern "C" fn C_SeedRandom(_: Session, _: Bytes, _: CK_ULONG) -> CK_RV {
    CKR_RANDOM_NO_RNG
}

unsafe extern "C" fn C_GenerateRandom(_: Session, _: Bytes, _: CK_ULONG) -> CK_RV {
    CKR_RANDOM_NO_RNG
}

macro_rules! functions {
    ($($name:ident)*) => {
        static FUNCTIONS: CK_FUNCTION_LIST =
            CK_FUNCTION_LIST { version: CK_VERSION { major: 2, minor: 40 }, $($name: Some($name)),* };
    };
}

functions! {
    C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList
    C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo
    C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
    C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt
    C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
    C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover
    C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
    C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey
    C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
}
