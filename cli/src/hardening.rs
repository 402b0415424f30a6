//! Protects the memory of the process, which holds private keys and passwords.

use std::alloc::System;
use std::io;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what it frees: ring does not wipe its keys, and whoever grows a vector or clones a string may not think of it.
#[global_allocator]
static HEAP: ZeroAlloc<System> = ZeroAlloc(System);

/// Prevents core dumps, and keeps other processes of the same user from attaching and from reading `/proc/PID/mem`. It runs
/// first, before any secret is in memory. Programs that are started from here do not inherit the second protection.
pub(crate) fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit alone is not enough: a core_pattern that is a pipe ignores it
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Lets a write that exceeds the limit on file sizes fail, instead of killing the process. Programs that are started from here do
/// not inherit it.
pub(crate) fn survive_file_size_limit() {
    // Where it cannot be set, the process ends as before
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// The memory that the agent may need. With a lower limit, locking would let later allocations fail.
#[cfg(target_os = "linux")]
const ROOM: u64 = 64 << 20;

/// Keeps all memory, now and later, from being written to swap space.
#[cfg(target_os = "linux")]
pub(crate) fn keep_memory_resident() -> Result<(), String> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::getrlimit;
    use rustix::thread::{CapabilitySet, capabilities};

    let privileged = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let mut limit = getrlimit(Resource::Memlock);
    limit.current = limit.maximum;
    // Raises the limit as far as it can be raised without privileges
    let _ = setrlimit(Resource::Memlock, limit);
    match getrlimit(Resource::Memlock).current {
        Some(least) if least < ROOM && !privileged => {
            Err(format!("only {} KiB can be locked, and {} KiB are needed", least >> 10, ROOM >> 10))
        }
        _ => {
            let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
            mlockall(all).map_err(|error| error.to_string())
        }
    }
}

/// Not implemented elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_memory_resident() -> Result<(), String> {
    Err("locking memory is not supported on this system".to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_freed_is_wiped() {
        let memory = File::open("/proc/self/mem").unwrap();
        // Made first, or it could get the memory that the secret leaves
        let mut seen = vec![0; 3000];
        let secret = vec![0x5a; 3000];
        let address = secret.as_ptr() as u64;
        memory.read_exact_at(&mut seen, address).unwrap();
        assert_eq!(seen, secret);
        drop(secret);
        memory.read_exact_at(&mut seen, address).unwrap();
        assert!(!seen.windows(16).any(|bytes| bytes == [0x5a; 16]));
    }
}
