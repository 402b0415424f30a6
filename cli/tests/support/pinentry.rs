//! A pinentry that answers as scripted and records what it receives.

use std::path::{Path, PathBuf};

use super::executable::executable;

/// A pinentry that never answers.
pub const SILENT: &str = "#!/bin/sh\nexec sleep 100\n";

pub struct Pinentry {
    pub program: PathBuf,
    told: PathBuf,
}

impl Pinentry {
    /// Answers GETPIN and CONFIRM with these replies, one each time.
    pub fn replying(dir: &Path, replies: &[&str]) -> Pinentry {
        let told = dir.join("told.txt");
        let script = format!(
            r#"#!/usr/bin/env python3
import sys
replies = {replies:?}
with open({told:?}, "a+") as told:
    told.seek(0)
    reply = replies[sum(line.startswith(("GETPIN", "CONFIRM")) for line in told)]
    print("OK Pleased to meet you", flush=True)
    for line in sys.stdin:
        told.write(line)
        told.flush()
        if line.startswith(("GETPIN", "CONFIRM")):
            print(reply, flush=True)
        elif line.startswith("OPTION lc-"):
            print("ERR 83886254 Unknown option <Pinentry>", flush=True)
        else:
            print("OK", flush=True)
"#
        );
        Pinentry { program: executable(dir, "pinentry", &script), told }
    }

    pub fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(&self.told).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }
}
