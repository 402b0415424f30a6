//! A program that stands for a person at a pinentry: it speaks Assuan, answers by a script, and writes down what it is told.

use std::path::{Path, PathBuf};

use super::executable::executable;

/// What it does in place of speaking Assuan.
pub const SILENT: &str = "#!/bin/sh\nexec sleep 100\n";

pub struct Pinentry {
    pub program: PathBuf,
    told: PathBuf,
}

impl Pinentry {
    /// Gives these replies to GETPIN, one to each run of it.
    pub fn replying(dir: &Path, replies: &[&str]) -> Pinentry {
        let told = dir.join("told.txt");
        let script = format!(
            r#"#!/usr/bin/env python3
import sys
replies = {replies:?}
with open({told:?}, "a+") as told:
    told.seek(0)
    reply = replies[sum(line.startswith("GETPIN") for line in told)]
    print("OK Pleased to meet you", flush=True)
    for line in sys.stdin:
        told.write(line)
        told.flush()
        if line.startswith("GETPIN"):
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
